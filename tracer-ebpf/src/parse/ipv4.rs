use tracer_common::counter::ParseError;

use super::{
    Packet, Stop,
    ethernet::IPV4,
    ip::{Ip, Version},
};

const FRAGMENT_OFFSET: u32 = 0x1fff;
const MORE_FRAGMENTS: u32 = 0x2000;
const DONT_FRAGMENT: u32 = 0x4000;

impl Version for u32 {
    const ETHERTYPE: u16 = IPV4;
    const ICMP: u8 = 1;
    const ECHO: [u8; 2] = [8, 0];
    const LENGTH: (usize, u32) = (2, 0);

    #[inline(always)]
    fn read<P: Packet>(packet: &P, at: usize) -> Result<Ip<Self>, Stop> {
        let [first, second, third, source, destination] =
            packet.words::<5>(at).ok_or(ParseError::TruncatedIpv4)?.map(Self::from_be);
        if first >> 28 != 4 {
            return Err(ParseError::Ipv4Version.into());
        }
        let header_length = (first >> 24 & 0xf) as usize * 4;
        if header_length < 20 {
            return Err(ParseError::Ipv4HeaderLength.into());
        }
        if header_length != 20 {
            if !P::ANY_LAYOUT {
                return Err(Stop::Layout);
            }
            // The last byte of the options: beyond it the parser may read nothing at all.
            packet.byte(at + header_length - 1).ok_or(ParseError::TruncatedIpv4)?;
        }
        // A "BIG TCP" packet of over 64 KiB has length 0 (net/ipv4/ip_output.c, from 6.3).
        let total_length = (first & 0xffff) as usize;
        if total_length != 0 && total_length < header_length {
            return Err(ParseError::Ipv4TotalLength.into());
        }
        Ok(Ip {
            source: source.to_be(),
            destination: destination.to_be(),
            protocol: (third >> 16) as u8,
            ttl: (third >> 24) as u8,
            later_fragment: second & FRAGMENT_OFFSET != 0,
            maybe_first_fragment: second & (FRAGMENT_OFFSET | MORE_FRAGMENTS) == MORE_FRAGMENTS,
            dont_fragment: second & DONT_FRAGMENT != 0,
            payload_at: if P::ANY_LAYOUT { at + header_length } else { at + 20 },
        })
    }

    #[inline(always)]
    fn is_first_fragment<P: Packet>(packet: &P, at: usize) -> Option<bool> {
        let word = u32::from(u16::from_be(packet.half(at + 6)?));
        Some(word & (FRAGMENT_OFFSET | MORE_FRAGMENTS) == MORE_FRAGMENTS)
    }

    /// Multicast and broadcast are never sent through the overlay, so never counted.
    #[inline(always)]
    fn is_unicast(address: Self) -> bool {
        Self::from_be(address) < 0xe000_0000
    }

    #[inline(always)]
    fn is_error(icmp_type: u8) -> bool {
        matches!(icmp_type, 3 | 11)
    }

    #[inline(always)]
    fn inside(error: ParseError) -> ParseError {
        match error {
            ParseError::TruncatedIpv4 => ParseError::TruncatedInnerIpv4,
            ParseError::TruncatedTransport => ParseError::TruncatedInnerTransport,
            _ => ParseError::InnerIpv4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::ip::UDP, *};

    fn header() -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[0] = 0x46;
        bytes[3] = 24;
        bytes[8] = 64;
        bytes[9] = UDP;
        bytes[12..16].copy_from_slice(&[10, 244, 1, 2]);
        bytes[16..20].copy_from_slice(&[10, 244, 2, 3]);
        bytes
    }

    #[test]
    fn options_move_the_payload() {
        let read = u32::read(&&header()[..], 0).unwrap();
        assert_eq!(read.payload_at, 24);
        assert_eq!(read.source.to_ne_bytes(), [10, 244, 1, 2]);
        assert_eq!(read.destination.to_ne_bytes(), [10, 244, 2, 3]);
        assert_eq!((read.protocol, read.ttl, read.later_fragment), (UDP, 64, false));
    }

    #[test]
    fn first_and_later_fragments_are_told_apart() {
        let mut bytes = header();
        for (field, first, later) in [
            ([0x20, 0], true, false),
            ([0x40, 0], false, false),
            ([0, 1], false, true),
            ([0x20, 8], false, true),
        ] {
            bytes[6..8].copy_from_slice(&field);
            let read = u32::read(&&bytes[..], 0).unwrap();
            assert_eq!(u32::is_first_fragment(&&bytes[..], 0), Some(first), "{field:?}");
            assert_eq!(read.maybe_first_fragment, first, "{field:?}");
            assert_eq!(read.later_fragment, later, "{field:?}");
        }
    }

    #[test]
    fn each_wrong_field_has_its_own_error() {
        let with = |index: usize, value: u8| {
            let mut bytes = header();
            bytes[index] = value;
            u32::read(&&bytes[..], 0)
        };
        assert_eq!(with(0, 0x66), Err(ParseError::Ipv4Version.into()));
        assert_eq!(with(0, 0x44), Err(ParseError::Ipv4HeaderLength.into()));
        assert_eq!(with(3, 23), Err(ParseError::Ipv4TotalLength.into()));
        assert!(with(3, 0).is_ok(), "BIG TCP");
        for end in 0..24 {
            assert_eq!(
                u32::read(&&header()[..end], 0),
                Err(ParseError::TruncatedIpv4.into()),
                "{end}"
            );
        }
    }
}
