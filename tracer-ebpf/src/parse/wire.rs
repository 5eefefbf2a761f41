use tracer_common::counter::ParseError;

use super::{
    Packet, Stop,
    inner::{self, Inner},
    ipv4::{Ipv4, UDP},
    vxlan::{self, Peeled},
};

/// What a packet at the uplink is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// A datagram to the tunnel's port.
    Vxlan(Vxlan),
    /// Any other IPv4 packet.
    Plain(Ipv4),
}

/// A VXLAN datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// The outer header.
    pub outer: Ipv4,
    /// VXLAN network identifier.
    pub vni: u32,
    /// Inner Ethernet source, the sender's VTEP MAC: its first two octets and its last four as
    /// they lie in memory.
    pub source_mac: (u16, u32),
    /// Where the inner IPv4 header begins, when the inner frame holds one.
    inner_at: Option<usize>,
}

/// Reads the IPv4 packet at `at` as one at the uplink. `port` is the tunnel's UDP port as
/// it lies in memory. Later fragments of a datagram have no UDP header and are [`Wire::Plain`].
///
/// # Errors
/// Any [`ParseError`] but those of the outer Ethernet and the inner IPv4 header;
/// [`Stop::Layout`] for options and inner VLAN tags.
#[inline(always)]
pub fn wire<P: Packet>(packet: &P, at: usize, port: u16) -> Result<Wire, Stop> {
    let outer = Ipv4::read(packet, at)?;
    if outer.protocol != UDP || outer.later_fragment {
        return Ok(Wire::Plain(outer));
    }
    let destination_port =
        vxlan::destination_port(packet, outer.payload_at).ok_or(ParseError::TruncatedTransport)?;
    if destination_port != port {
        return Ok(Wire::Plain(outer));
    }
    let Peeled { vni, source_mac, inner_at } = vxlan::peel(packet, outer.payload_at)?;
    Ok(Wire::Vxlan(Vxlan { outer, vni, source_mac, inner_at }))
}

impl Vxlan {
    /// The inner packet; `None` when it is not unicast IPv4. `packet` is the one this was read from.
    ///
    /// Apart from [`wire()`], so that what is found is used where it is found. A result that is
    /// carried past other decisions makes the compiler test for it twice; the verifier of 5.10 then
    /// follows the path on which the two tests disagree, and there nothing was found.
    ///
    /// # Errors
    /// The [`ParseError`]s of inner headers; [`Stop::Layout`] for options.
    #[inline(always)]
    pub fn inner<P: Packet>(&self, packet: &P) -> Result<Option<Inner>, Stop> {
        let Some(at) = self.inner_at else { return Ok(None) };
        inner::inner(packet, at).map_err(inside)
    }
}

/// The name of an IPv4 error when it is the inner packet's.
#[inline(always)]
const fn inside(stop: Stop) -> Stop {
    match stop {
        Stop::Malformed(ParseError::TruncatedIpv4) => {
            Stop::Malformed(ParseError::TruncatedInnerIpv4)
        }
        Stop::Malformed(ParseError::TruncatedTransport) => {
            Stop::Malformed(ParseError::TruncatedInnerTransport)
        }
        Stop::Malformed(_) => Stop::Malformed(ParseError::InnerIpv4),
        Stop::Layout => Stop::Layout,
    }
}
