//! Addresses of both IP versions, in words as they lie in memory: the value of
//! `u32::from_ne_bytes` over network byte order.

use core::net::{Ipv4Addr, Ipv6Addr};

/// An address of either IP version: `u32`, or `[u32; 4]`.
pub trait Address: Copy + Default + PartialEq {
    /// What the standard library calls it.
    type Ip: Copy;
    /// The unspecified address.
    const ZERO: Self;
    /// Bits of an address.
    const BITS: u32;

    /// The address in words.
    fn of(ip: Self::Ip) -> Self;

    /// The address that the words stand for.
    fn ip(self) -> Self::Ip;

    /// The mask of a prefix length up to [`Self::BITS`].
    fn mask(prefix_length: u32) -> Self;

    /// The bits that `mask` keeps.
    #[must_use]
    fn masked(self, mask: Self) -> Self;

    /// The words, and zeros behind them where they are fewer than four.
    fn widened(self) -> [u32; 4];
}

impl Address for u32 {
    type Ip = Ipv4Addr;
    const ZERO: Self = 0;
    const BITS: u32 = 32;

    #[inline(always)]
    fn of(ip: Ipv4Addr) -> Self {
        Self::from_ne_bytes(ip.octets())
    }

    fn ip(self) -> Ipv4Addr {
        self.to_ne_bytes().into()
    }

    fn mask(prefix_length: u32) -> Self {
        Self::MAX.checked_shl(32 - prefix_length).unwrap_or(0).to_be()
    }

    #[inline(always)]
    fn masked(self, mask: Self) -> Self {
        self & mask
    }

    #[inline(always)]
    fn widened(self) -> [u32; 4] {
        [self, 0, 0, 0]
    }
}

impl Address for [u32; 4] {
    type Ip = Ipv6Addr;
    const ZERO: Self = [0; 4];
    const BITS: u32 = 128;

    fn of(ip: Ipv6Addr) -> Self {
        let octets = ip.octets();
        let word = |at: usize| {
            u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
        };
        [word(0), word(4), word(8), word(12)]
    }

    fn ip(self) -> Ipv6Addr {
        let [a, b, c, d] = self.map(u128::from).map(|word| u128::from(u32::from_be(word as u32)));
        Ipv6Addr::from_bits(a << 96 | b << 64 | c << 32 | d)
    }

    fn mask(prefix_length: u32) -> Self {
        [0, 32, 64, 96].map(|before| u32::mask(prefix_length.saturating_sub(before).min(32)))
    }

    #[inline(always)]
    fn masked(self, mask: Self) -> Self {
        [self[0] & mask[0], self[1] & mask[1], self[2] & mask[2], self[3] & mask[3]]
    }

    #[inline(always)]
    fn widened(self) -> [u32; 4] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lie_in_memory_as_on_the_wire() {
        let ip = Ipv4Addr::new(10, 244, 1, 2);
        assert_eq!(u32::of(ip).to_ne_bytes(), [10, 244, 1, 2]);
        assert_eq!(u32::of(ip).ip(), ip);
        let ip: Ipv6Addr = "2001:db8:1:2:3:4:5:6".parse().unwrap();
        assert_eq!(<[u32; 4]>::of(ip)[1].to_ne_bytes(), [0, 1, 0, 2]);
        assert_eq!(<[u32; 4]>::of(ip).ip(), ip);
    }

    #[test]
    fn a_mask_keeps_the_bits_of_its_prefix() {
        for length in [0, 1, 8, 24, 31, 32] {
            assert_eq!(u32::from_be(u32::mask(length)).leading_ones(), length);
        }
        for length in [0, 1, 31, 32, 33, 56, 64, 127, 128] {
            let bits = <[u32; 4]>::mask(length).ip().to_bits();
            assert_eq!((bits.leading_ones(), bits.count_ones()), (length, length));
        }
    }
}
