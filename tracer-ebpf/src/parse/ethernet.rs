use tracer_common::counter::ParseError;

use super::{Packet, Stop};

/// EtherType of IPv4 as it lies in memory.
pub const IPV4: u16 = 0x0800_u16.to_be();
/// EtherType of IPv6 as it lies in memory.
pub const IPV6: u16 = 0x86dd_u16.to_be();
/// EtherType of ARP as it lies in memory.
pub const ARP: u16 = 0x0806_u16.to_be();
const VLAN: u16 = 0x8100_u16.to_be();
const QINQ: u16 = 0x88a8_u16.to_be();

/// EtherType of the Ethernet frame at `at`, behind VLAN tags and as it lies in memory, and where
/// what it carries begins.
///
/// The kernel usually moves VLAN tags into metadata, where they are not seen here; up to two of
/// them may still stand in the data.
///
/// # Errors
/// [`ParseError::TruncatedEthernet`], [`ParseError::VlanDepth`]; [`Stop::Layout`] for a VLAN tag.
#[inline(always)]
pub fn ethernet<P: Packet>(packet: &P, at: usize) -> Result<(u16, usize), Stop> {
    let mut type_at = at + 12;
    for _ in 0..3 {
        match packet.half(type_at).ok_or(ParseError::TruncatedEthernet)? {
            VLAN | QINQ if !P::ANY_LAYOUT => return Err(Stop::Layout),
            VLAN | QINQ => type_at += 4,
            other => return Ok((other, type_at + 2)),
        }
    }
    Err(ParseError::VlanDepth.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(types: &[u16]) -> Vec<u8> {
        let mut bytes = vec![0; 12];
        for (index, ethertype) in types.iter().enumerate() {
            bytes.extend(ethertype.to_ne_bytes());
            if index + 1 < types.len() {
                bytes.extend([0, 42]);
            }
        }
        bytes
    }

    #[test]
    fn vlan_tags_in_the_data_are_stepped_over() {
        for (tags, offset) in [(0, 14), (1, 18), (2, 22)] {
            let mut types = vec![QINQ; tags];
            types.push(IPV4);
            assert_eq!(ethernet(&&frame(&types)[..], 0), Ok((IPV4, offset)));
        }
    }

    #[test]
    fn a_third_vlan_tag_is_an_error() {
        let bytes = frame(&[VLAN, VLAN, VLAN, IPV4]);
        assert_eq!(ethernet(&&bytes[..], 0), Err(ParseError::VlanDepth.into()));
    }

    #[test]
    fn every_protocol_is_named() {
        for protocol in [IPV4, IPV6, 0x0806_u16.to_be()] {
            assert_eq!(ethernet(&&frame(&[protocol])[..], 0), Ok((protocol, 14)));
            assert_eq!(ethernet(&&frame(&[VLAN, protocol])[..], 0), Ok((protocol, 18)));
        }
    }

    #[test]
    fn a_frame_that_ends_early_is_truncated() {
        let bytes = frame(&[VLAN, IPV4]);
        for end in 0..bytes.len() {
            assert_eq!(ethernet(&&bytes[..end], 0), Err(ParseError::TruncatedEthernet.into()));
        }
    }
}
