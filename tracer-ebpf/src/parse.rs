//! From bytes to an inner flow. Every function takes a [`Packet`] and an offset into it and reads
//! nothing else, so that it runs over a packet's linear part, over a copy of a packet, and over a
//! slice in a test.

mod by_words;
mod dns;
mod ethernet;
mod inner;
mod ip;
mod ipv4;
mod ipv6;
mod vxlan;
mod wire;

use tracer_common::counter::ParseError;

pub use self::{
    dns::dns,
    ethernet::{ARP, IPV4, IPV6, ethernet},
    inner::{Inner, flow, inner},
    ip::{Ip, SCTP, TCP, UDP, Version},
    wire::{Vxlan, Wire, wire},
};

/// Bytes of a packet that can be read, in words as they lie in memory: the value of
/// `u32::from_ne_bytes` over network byte order. Reading words instead of bytes is what keeps the
/// parser cheap in the kernel.
pub trait Packet {
    /// Whether headers may begin anywhere. Where they may not, VLAN tags, IP options and extension headers end the
    /// attempt with [`Stop::Layout`]: then every offset is a constant, which makes the common
    /// packet cheap and lets old verifiers follow.
    const ANY_LAYOUT: bool;

    /// The byte at `at`, or `None` when the readable part ends before it.
    fn byte(&self, at: usize) -> Option<u8>;

    /// Two bytes at `at`.
    fn half(&self, at: usize) -> Option<u16>;

    /// `N` words of four bytes at `at`.
    fn words<const N: usize>(&self, at: usize) -> Option<[u32; N]>;
}

/// Why an attempt ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The packet is malformed or ends too early.
    Malformed(ParseError),
    /// Headers do not begin where they usually do: parse it from a copy.
    Layout,
}

impl From<ParseError> for Stop {
    #[inline(always)]
    fn from(error: ParseError) -> Self {
        Self::Malformed(error)
    }
}

impl Packet for &[u8] {
    const ANY_LAYOUT: bool = true;

    fn byte(&self, at: usize) -> Option<u8> {
        self.get(at).copied()
    }

    fn half(&self, at: usize) -> Option<u16> {
        let bytes = self.get(at..at.checked_add(2)?)?;
        Some(u16::from_ne_bytes(bytes.try_into().ok()?))
    }

    fn words<const N: usize>(&self, at: usize) -> Option<[u32; N]> {
        let bytes = self.get(at..at.checked_add(N * 4)?)?;
        let mut words = [0; N];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_ne_bytes(bytes.try_into().ok()?);
        }
        Some(words)
    }
}
