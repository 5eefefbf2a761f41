use tracer_common::counter::ParseError;

use super::{Packet, Stop};

/// ICMP's protocol number.
pub(super) const ICMP: u8 = 1;
/// TCP's protocol number.
pub(super) const TCP: u8 = 6;
/// UDP's protocol number.
pub(super) const UDP: u8 = 17;
/// SCTP's protocol number.
pub(super) const SCTP: u8 = 132;

const FRAGMENT_OFFSET: u32 = 0x1fff;
const DONT_FRAGMENT: u32 = 0x4000;

/// What the tracer reads of an IPv4 header. Addresses as they lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// Source address.
    pub source: u32,
    /// Destination address.
    pub destination: u32,
    /// Protocol number of the payload.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// A fragment other than the first: it has no transport header.
    pub later_fragment: bool,
    /// Must not be fragmented on its way.
    pub dont_fragment: bool,
    /// Where the payload begins.
    pub payload_at: usize,
}

/// Why an IPv4 header could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    Truncated,
    Version,
    HeaderLength,
    TotalLength,
    /// Options, where they are not looked for.
    Options,
}

impl From<Malformed> for Stop {
    #[inline(always)]
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(match malformed {
            Malformed::Truncated => ParseError::TruncatedIpv4,
            Malformed::Version => ParseError::Ipv4Version,
            Malformed::HeaderLength => ParseError::Ipv4HeaderLength,
            Malformed::TotalLength => ParseError::Ipv4TotalLength,
            Malformed::Options => return Self::Layout,
        })
    }
}

impl Ipv4 {
    /// Reads the header at `at`.
    #[inline(always)]
    pub(super) fn read<P: Packet>(packet: &P, at: usize) -> Result<Self, Malformed> {
        let [first, second, third, source, destination] =
            packet.words::<5>(at).ok_or(Malformed::Truncated)?.map(u32::from_be);
        if first >> 28 != 4 {
            return Err(Malformed::Version);
        }
        let header_length = (first >> 24 & 0xf) as usize * 4;
        if header_length < 20 {
            return Err(Malformed::HeaderLength);
        }
        if header_length != 20 {
            if !P::ANY_LAYOUT {
                return Err(Malformed::Options);
            }
            // The last byte of the options: beyond it the parser may read nothing at all.
            packet.byte(at + header_length - 1).ok_or(Malformed::Truncated)?;
        }
        // A "BIG TCP" packet of over 64 KiB has length 0 (net/ipv4/ip_output.c, from 6.3).
        let total_length = (first & 0xffff) as usize;
        if total_length != 0 && total_length < header_length {
            return Err(Malformed::TotalLength);
        }
        Ok(Self {
            source: source.to_be(),
            destination: destination.to_be(),
            protocol: (third >> 16) as u8,
            ttl: (third >> 24) as u8,
            later_fragment: second & FRAGMENT_OFFSET != 0,
            dont_fragment: second & DONT_FRAGMENT != 0,
            payload_at: if P::ANY_LAYOUT { at + header_length } else { at + 20 },
        })
    }

    /// Multicast and broadcast: never sent through the overlay, so never counted.
    #[inline(always)]
    #[must_use]
    pub const fn is_unicast(&self) -> bool {
        u32::from_be(self.destination) < 0xe000_0000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let read = Ipv4::read(&&header()[..], 0).unwrap();
        assert_eq!(read.payload_at, 24);
        assert_eq!(read.source.to_ne_bytes(), [10, 244, 1, 2]);
        assert_eq!(read.destination.to_ne_bytes(), [10, 244, 2, 3]);
        assert_eq!((read.protocol, read.ttl, read.later_fragment), (UDP, 64, false));
    }

    #[test]
    fn only_later_fragments_are_told_apart() {
        let mut bytes = header();
        for (field, later) in
            [([0x20, 0], false), ([0x40, 0], false), ([0, 1], true), ([0x20, 8], true)]
        {
            bytes[6..8].copy_from_slice(&field);
            assert_eq!(Ipv4::read(&&bytes[..], 0).unwrap().later_fragment, later, "{field:?}");
        }
    }

    #[test]
    fn each_wrong_field_has_its_own_error() {
        let with = |index: usize, value: u8| {
            let mut bytes = header();
            bytes[index] = value;
            Ipv4::read(&&bytes[..], 0)
        };
        assert_eq!(with(0, 0x66), Err(Malformed::Version));
        assert_eq!(with(0, 0x44), Err(Malformed::HeaderLength));
        assert_eq!(with(3, 23), Err(Malformed::TotalLength));
        assert!(with(3, 0).is_ok(), "BIG TCP");
        for end in 0..24 {
            assert_eq!(Ipv4::read(&&header()[..end], 0), Err(Malformed::Truncated), "{end}");
        }
    }
}
