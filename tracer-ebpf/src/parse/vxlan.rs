use tracer_common::{config::HAS_VNI, counter::ParseError};

use super::{Packet, Stop, ethernet::ethernet};

const UDP_HEADER: usize = 8;
const VXLAN_HEADER: usize = 8;
/// From the UDP header to what an inner frame without VLAN tags carries.
pub(super) const HEADERS: usize = UDP_HEADER + VXLAN_HEADER + 14;
/// UDP destination port of the datagram at `at`, as it lies in memory.
#[inline(always)]
pub(super) fn destination_port<P: Packet>(packet: &P, at: usize) -> Option<u16> {
    packet.half(at + 2)
}

/// What the VXLAN header and the inner Ethernet header tell.
pub(super) struct Peeled {
    /// Both words of the VXLAN header, as they lie in memory.
    pub(super) header: [u32; 2],
    /// Inner Ethernet source, its first two octets and its last four as they lie in memory.
    pub(super) source_mac: (u16, u32),
    /// EtherType of the inner frame, as it lies in memory, and where what it carries begins.
    pub(super) inner: (u16, usize),
}

/// Reads the VXLAN datagram whose UDP header begins at `at`.
#[inline(always)]
pub(super) fn peel<P: Packet>(packet: &P, at: usize) -> Result<Peeled, Stop> {
    let header = packet.words::<2>(at + UDP_HEADER).ok_or(ParseError::TruncatedVxlan)?;
    if header[0] & HAS_VNI == 0 {
        return Err(ParseError::VxlanFlags.into());
    }
    let ethernet_at = at + UDP_HEADER + VXLAN_HEADER;
    let inner = ethernet(packet, ethernet_at).map_err(|stop| match stop {
        Stop::Malformed(ParseError::TruncatedEthernet) => ParseError::TruncatedInnerEthernet.into(),
        other => other,
    })?;
    let high = packet.half(ethernet_at + 6).ok_or(ParseError::TruncatedInnerEthernet)?;
    let [low] = packet.words(ethernet_at + 8).ok_or(ParseError::TruncatedInnerEthernet)?;
    Ok(Peeled { header, source_mac: (high, low), inner })
}
