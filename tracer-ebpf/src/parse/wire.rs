use tracer_common::counter::ParseError;

use super::{
    Packet, Stop,
    inner::{self, Inner},
    ip::{Ip, UDP, Version},
    vxlan::{self, Peeled},
};

/// What a packet at the uplink is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire<A> {
    /// A datagram to the tunnel's port.
    Vxlan(Vxlan<A>),
    /// Any other UDP datagram, and its destination port as it lies in memory.
    Datagram(Ip<A>, u16),
    /// Any other packet.
    Plain(Ip<A>),
}

/// A VXLAN datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vxlan<A> {
    /// The outer header.
    pub outer: Ip<A>,
    /// Both words of the VXLAN header, as they lie in memory.
    pub header: [u32; 2],
    /// Inner Ethernet source, the sender's VTEP MAC: its first two octets and its last four as
    /// they lie in memory.
    pub source_mac: (u16, u32),
    /// EtherType of the inner frame and where what it carries begins.
    inner: (u16, usize),
}

/// Reads the IP packet at `at` as one at the uplink. `port` is the tunnel's UDP port as
/// it lies in memory. Later fragments of a datagram have no UDP header and are [`Wire::Plain`].
///
/// # Errors
/// Any [`ParseError`] but those of the outer Ethernet and the inner IP header;
/// [`Stop::Layout`] for options, extension headers and inner VLAN tags.
#[inline(always)]
pub fn wire<A: Version, P: Packet>(packet: &P, at: usize, port: u16) -> Result<Wire<A>, Stop> {
    let outer = A::read(packet, at)?;
    if outer.protocol != UDP || outer.later_fragment {
        return Ok(Wire::Plain(outer));
    }
    let destination_port =
        vxlan::destination_port(packet, outer.payload_at).ok_or(ParseError::TruncatedTransport)?;
    if destination_port != port {
        return Ok(Wire::Datagram(outer, destination_port));
    }
    let Peeled { header, source_mac, inner } = vxlan::peel(packet, outer.payload_at)?;
    Ok(Wire::Vxlan(Vxlan { outer, header, source_mac, inner }))
}

impl<A: Version> Vxlan<A> {
    /// VXLAN network identifier.
    #[inline(always)]
    #[must_use]
    pub const fn vni(&self) -> u32 {
        u32::from_be(self.header[1]) >> 8
    }

    /// The inner packet; `None` when it is of another IP version or not unicast. `packet` is the one this was read from.
    ///
    /// Apart from [`wire()`], so that what is found is used where it is found. A result that is
    /// carried past other decisions makes the compiler test for it twice; the verifier of 5.10 then
    /// follows the path on which the two tests disagree, and there nothing was found.
    ///
    /// # Errors
    /// The [`ParseError`]s of inner headers; [`Stop::Layout`] for options and extension headers.
    #[inline(always)]
    pub fn inner<P: Packet>(&self, packet: &P) -> Result<Option<Inner<A>>, Stop> {
        let (kind, anywhere) = self.inner;
        // Known as a constant here, the offset stays one: the verifier refuses any other to a
        // process without CAP_PERFMON.
        let at = if P::ANY_LAYOUT { anywhere } else { self.outer.payload_at + vxlan::HEADERS };
        if kind != A::ETHERTYPE {
            return Ok(None);
        }
        inner::inner(packet, at).map_err(|stop| match stop {
            Stop::Malformed(error) => Stop::Malformed(A::inside(error)),
            Stop::Layout => Stop::Layout,
        })
    }
}
