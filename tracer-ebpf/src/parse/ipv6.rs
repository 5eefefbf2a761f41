use tracer_common::counter::ParseError;

use super::{
    Packet, Stop,
    ethernet::IPV6,
    ip::{Ip, Version},
};

const HEADER: usize = 40;
/// Extension headers by protocol number (IANA, "IPv6 Extension Header Types").
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
/// Extension headers that are stepped over; RFC 8200, section 4.1 recommends no more than these.
const EXTENSIONS: usize = 4;
const FRAGMENT_OFFSET: u32 = 0xfff8;
const MORE_FRAGMENTS: u32 = 1;

/// Behind the extension headers.
struct Payload {
    protocol: u8,
    at: usize,
    later_fragment: bool,
}

impl Version for [u32; 4] {
    const ETHERTYPE: u16 = IPV6;
    const ICMP: u8 = 58;
    const ECHO: [u8; 2] = [128, 129];
    const LENGTH: (usize, u32) = (4, HEADER as u32);

    #[inline(always)]
    fn read<P: Packet>(packet: &P, at: usize) -> Result<Ip<Self>, Stop> {
        let [first, second] = packet.words::<2>(at).ok_or(ParseError::TruncatedIpv6)?;
        if u32::from_be(first) >> 28 != 6 {
            return Err(ParseError::Ipv6Version.into());
        }
        let source = packet.words::<4>(at + 8).ok_or(ParseError::TruncatedIpv6)?;
        let destination = packet.words::<4>(at + 24).ok_or(ParseError::TruncatedIpv6)?;
        let second = u32::from_be(second);
        let behind = payload(packet, (second >> 8) as u8, at + HEADER)?;
        Ok(Ip {
            source,
            destination,
            protocol: behind.protocol,
            ttl: second as u8,
            later_fragment: behind.later_fragment,
            maybe_first_fragment: P::ANY_LAYOUT,
            // Only its source may fragment it (RFC 8200, section 5).
            dont_fragment: true,
            payload_at: if P::ANY_LAYOUT { behind.at } else { at + HEADER },
        })
    }

    /// Only where the fragment header comes first, as it does in what a tunnel sends.
    #[inline(always)]
    fn is_first_fragment<P: Packet>(packet: &P, at: usize) -> Option<bool> {
        if packet.byte(at + 6)? != FRAGMENT {
            return Some(false);
        }
        let word = u32::from_be(packet.words::<1>(at + HEADER)?[0]);
        Some(word & (FRAGMENT_OFFSET | MORE_FRAGMENTS) == MORE_FRAGMENTS)
    }

    /// Multicast is never sent through the overlay, and link-local addresses are a device's own
    /// matter.
    #[inline(always)]
    fn is_unicast(address: Self) -> bool {
        let first = u32::from_be(address[0]);
        first >> 24 != 0xff && first >> 22 != 0xfe80 >> 6
    }

    #[inline(always)]
    fn is_error(icmp_type: u8) -> bool {
        matches!(icmp_type, 1..=3)
    }

    #[inline(always)]
    fn inside(error: ParseError) -> ParseError {
        match error {
            ParseError::TruncatedIpv6 => ParseError::TruncatedInnerIpv6,
            ParseError::TruncatedTransport => ParseError::TruncatedInnerTransport,
            _ => ParseError::InnerIpv6,
        }
    }
}

/// Steps over the extension headers that begin at `at` with number `protocol`. Behind the header of
/// a later fragment there is only data.
#[inline(always)]
fn payload<P: Packet>(packet: &P, mut protocol: u8, mut at: usize) -> Result<Payload, Stop> {
    for _ in 0..=EXTENSIONS {
        let units = match protocol {
            HOP_BY_HOP | ROUTING | DESTINATION | FRAGMENT | AUTHENTICATION if !P::ANY_LAYOUT => {
                return Err(Stop::Layout);
            }
            HOP_BY_HOP | ROUTING | DESTINATION => 8,
            AUTHENTICATION => 4,
            FRAGMENT => 0,
            _ => return Ok(Payload { protocol, at, later_fragment: false }),
        };
        let [word] = packet.words::<1>(at).ok_or(ParseError::TruncatedIpv6)?;
        let word = u32::from_be(word);
        // The length counts units beyond the first eight bytes.
        let length = 8 + (word >> 16 & 0xff) as usize * units;
        packet.byte(at + length - 1).ok_or(ParseError::TruncatedIpv6)?;
        if protocol == FRAGMENT && word & FRAGMENT_OFFSET != 0 {
            let protocol = (word >> 24) as u8;
            return Ok(Payload { protocol, at: at + length, later_fragment: true });
        }
        protocol = (word >> 24) as u8;
        at += length;
    }
    Err(ParseError::Ipv6Extensions.into())
}

#[cfg(test)]
mod tests {
    use super::{super::ip::UDP, *};

    type V6 = [u32; 4];

    fn packet(next: u8, behind: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0, 0, behind.len() as u8, next, 63];
        bytes.extend([0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        bytes.extend([0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
        bytes.extend(behind);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Ip<V6>, Stop> {
        V6::read(&bytes, 0)
    }

    #[test]
    fn a_plain_header_is_forty_bytes() {
        let ip = read(&packet(UDP, &[])).unwrap();
        assert_eq!((ip.protocol, ip.ttl, ip.payload_at), (UDP, 63, 40));
        assert_eq!(ip.source[3].to_ne_bytes(), [0, 0, 0, 2]);
        assert_eq!(ip.destination[3].to_ne_bytes(), [0, 0, 0, 3]);
        assert!(!ip.later_fragment && ip.dont_fragment);
    }

    #[test]
    fn extension_headers_are_stepped_over() {
        let options = [DESTINATION, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let destination = [FRAGMENT, 0, 0, 0, 0, 0, 0, 0];
        let first_fragment = [AUTHENTICATION, 0, 0, 1, 0, 0, 0, 9];
        let authentication = [UDP, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let behind = [&options[..], &destination, &first_fragment, &authentication].concat();
        let ip = read(&packet(HOP_BY_HOP, &behind)).unwrap();
        assert_eq!((ip.protocol, ip.payload_at, ip.later_fragment), (UDP, 40 + 44, false));
    }

    #[test]
    fn a_later_fragment_ends_the_walk() {
        let behind = [DESTINATION, 0, 0, 8, 0, 0, 0, 9, 0xee, 0xee];
        let ip = read(&packet(FRAGMENT, &behind)).unwrap();
        assert_eq!((ip.protocol, ip.payload_at, ip.later_fragment), (DESTINATION, 48, true));
    }

    #[test]
    fn a_first_fragment_says_that_more_follow() {
        let ip = read(&packet(FRAGMENT, &[UDP, 0, 0, 1, 0, 0, 0, 9])).unwrap();
        assert_eq!((ip.protocol, ip.payload_at), (UDP, 48));
        assert!(ip.maybe_first_fragment && !ip.later_fragment);
        let is_first = |header: [u8; 8]| {
            <V6 as Version>::is_first_fragment(&&packet(FRAGMENT, &header)[..], 0)
        };
        assert_eq!(is_first([UDP, 0, 0, 1, 0, 0, 0, 9]), Some(true));
        assert_eq!(is_first([UDP, 0, 0, 0, 0, 0, 0, 9]), Some(false), "nothing follows it");
        assert_eq!(is_first([UDP, 0, 0, 9, 0, 0, 0, 9]), Some(false), "a later one");
        assert_eq!(<V6 as Version>::is_first_fragment(&&packet(UDP, &[0; 8])[..], 0), Some(false));
    }

    #[test]
    fn a_fifth_extension_header_is_an_error() {
        let behind = [DESTINATION, 0, 0, 0, 0, 0, 0, 0].repeat(6);
        assert_eq!(read(&packet(DESTINATION, &behind)), Err(ParseError::Ipv6Extensions.into()));
    }

    #[test]
    fn each_wrong_field_has_its_own_error() {
        let mut bytes = packet(HOP_BY_HOP, &[UDP, 0, 0, 0, 0, 0, 0, 0]);
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), Err(ParseError::TruncatedIpv6.into()), "{end}");
        }
        bytes[0] = 0x45;
        assert_eq!(read(&bytes), Err(ParseError::Ipv6Version.into()));
    }

    #[test]
    fn neither_multicast_nor_link_local_is_carried() {
        let first = |word: u32| V6::is_unicast([word.to_be(), 0, 0, 1]);
        assert!(first(0xfd00_0001) && first(0x2001_0db8) && first(0xfec0_0000));
        assert!(!first(0xff02_0000) && !first(0xfe80_0000) && !first(0xfebf_ffff));
    }
}
