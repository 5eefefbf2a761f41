use tracer_common::counter::ParseError;

use super::{Packet, Stop, ethernet};

/// Bytes that VXLAN over IPv4 puts in front of an inner IPv4 packet: IPv4, UDP, VXLAN, Ethernet.
pub const ENCAPSULATION: usize = 20 + 8 + 8 + 14;

const UDP_HEADER: usize = 8;
const VXLAN_HEADER: usize = 8;
/// The VNI is valid (RFC 7348, section 5).
const FLAG_VNI: u32 = 0x0800_0000_u32.to_be();

/// UDP destination port of the datagram at `at`, as it lies in memory.
#[inline(always)]
pub(super) fn destination_port<P: Packet>(packet: &P, at: usize) -> Option<u16> {
    packet.half(at + 2)
}

/// VNI (as a number), and where the inner IPv4 header begins when the inner frame holds one, of the VXLAN
/// datagram whose UDP header begins at `at`.
#[inline(always)]
pub(super) fn peel<P: Packet>(packet: &P, at: usize) -> Result<(u32, Option<usize>), Stop> {
    let [flags, vni] = packet.words::<2>(at + UDP_HEADER).ok_or(ParseError::TruncatedVxlan)?;
    if flags & FLAG_VNI == 0 {
        return Err(ParseError::VxlanFlags.into());
    }
    let inner_at = ethernet::ipv4_offset(packet, at + UDP_HEADER + VXLAN_HEADER).map_err(
        |stop| match stop {
            Stop::Malformed(_) => ParseError::TruncatedInnerEthernet.into(),
            Stop::Layout => Stop::Layout,
        },
    )?;
    Ok((u32::from_be(vni) >> 8, inner_at))
}
