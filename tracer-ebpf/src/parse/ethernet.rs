use tracer_common::counter::ParseError;

use super::{Packet, Stop};

const IPV4: u16 = 0x0800_u16.to_be();
const VLAN: u16 = 0x8100_u16.to_be();
const QINQ: u16 = 0x88a8_u16.to_be();

/// Where the IPv4 header of an Ethernet frame at `at` begins; `None` for any other protocol.
///
/// The kernel usually moves VLAN tags into metadata, where they are not seen here; up to two of
/// them may still stand in the data.
///
/// # Errors
/// [`ParseError::TruncatedEthernet`], [`ParseError::VlanDepth`]; [`Stop::Layout`] for a VLAN tag.
#[inline(always)]
pub fn ipv4_offset<P: Packet>(packet: &P, at: usize) -> Result<Option<usize>, Stop> {
    let mut type_at = at + 12;
    for _ in 0..3 {
        match packet.half(type_at).ok_or(ParseError::TruncatedEthernet)? {
            IPV4 => return Ok(Some(type_at + 2)),
            VLAN | QINQ if !P::ANY_LAYOUT => return Err(Stop::Layout),
            VLAN | QINQ => type_at += 4,
            _ => return Ok(None),
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
            assert_eq!(ipv4_offset(&&frame(&types)[..], 0), Ok(Some(offset)));
        }
    }

    #[test]
    fn a_third_vlan_tag_is_an_error() {
        let bytes = frame(&[VLAN, VLAN, VLAN, IPV4]);
        assert_eq!(ipv4_offset(&&bytes[..], 0), Err(ParseError::VlanDepth.into()));
    }

    #[test]
    fn other_protocols_are_not_ours() {
        assert_eq!(ipv4_offset(&&frame(&[0x0806_u16.to_be()])[..], 0), Ok(None));
        assert_eq!(ipv4_offset(&&frame(&[VLAN, 0x86dd_u16.to_be()])[..], 0), Ok(None));
    }

    #[test]
    fn a_frame_that_ends_early_is_truncated() {
        let bytes = frame(&[VLAN, IPV4]);
        for end in 0..bytes.len() {
            assert_eq!(ipv4_offset(&&bytes[..end], 0), Err(ParseError::TruncatedEthernet.into()));
        }
    }
}
