//! Where a query waits for its answer.

use core::net::IpAddr;

use super::{
    count::{DnsKey, DnsKind, ip},
    pair::Message,
};
use crate::stage::{OVERLAY_IN, OVERLAY_OUT, POD_IN, POD_OUT, WIRE_IN, WIRE_OUT};

/// Slots, a power of two: 1 MiB.
pub const SLOTS: u32 = 1 << 14;

/// No query waits here.
const FREE: u8 = 0;

/// A query that waits for its answer. Addresses in words as they lie in memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DnsSlot {
    client: [u32; 4],
    server: [u32; 4],
    endpoint: [u32; 4],
    start: u64,
    /// The client's port and the query's identifier.
    exchange: u32,
    /// Stages that saw the query and an answer, a bit each.
    query_seen: u8,
    answer_seen: u8,
    /// The stage that saw the query first.
    first: u8,
    /// Bits of the addresses, or [`FREE`].
    state: u8,
}

const _: () = {
    // A line of a processor's cache.
    assert!(size_of::<DnsSlot>() == 64);
    assert!(align_of::<DnsSlot>() == 8);
    assert!(core::mem::offset_of!(DnsSlot, exchange) == 56);
    assert!(SLOTS.is_power_of_two());
};

/// The furthest stage among bits, plus one; 0 when there is none. A way through a node has either
/// the first three stages or the last three, or begins with the first and ends with the last.
#[inline(always)]
const fn last(bits: u8) -> u8 {
    const fn has(bits: u8, stage: usize) -> bool {
        bits & 1 << stage != 0
    }
    if has(bits, POD_IN) {
        POD_IN as u8 + 1
    } else if has(bits, OVERLAY_IN) {
        OVERLAY_IN as u8 + 1
    } else if has(bits, WIRE_IN) {
        WIRE_IN as u8 + 1
    } else if has(bits, WIRE_OUT) {
        WIRE_OUT as u8 + 1
    } else if has(bits, OVERLAY_OUT) {
        OVERLAY_OUT as u8 + 1
    } else if has(bits, POD_OUT) {
        POD_OUT as u8 + 1
    } else {
        0
    }
}

impl DnsSlot {
    /// Whether the message's query waits here.
    #[inline(always)]
    pub(super) fn is_of(&self, message: &Message) -> bool {
        self.state == message.bits
            && self.exchange == message.exchange
            && self.client == message.client
    }

    /// Whether a query waits here.
    #[inline(always)]
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.state != FREE
    }

    #[inline(always)]
    pub(super) const fn open(&mut self, message: &Message, stage: usize, now: u64) {
        self.client = message.client;
        self.server = message.server;
        // Behind the tunnel nothing translates it any more.
        self.endpoint = if stage == POD_OUT { [0; 4] } else { message.server };
        self.start = now;
        self.exchange = message.exchange;
        self.query_seen = 1 << stage;
        self.answer_seen = 0;
        self.first = stage as u8;
        self.state = message.bits;
    }

    #[inline(always)]
    pub(super) const fn close(&mut self) {
        self.state = FREE;
    }

    /// The query has passed another stage.
    #[inline(always)]
    pub(super) const fn see_query(&mut self, stage: usize, server: [u32; 4]) {
        self.query_seen |= 1 << stage;
        if matches!(stage, OVERLAY_OUT | WIRE_OUT) {
            self.endpoint = server;
        }
    }

    /// An answer has passed a stage.
    #[inline(always)]
    pub(super) const fn see_answer(&mut self, stage: usize, server: [u32; 4]) {
        self.answer_seen |= 1 << stage;
        if matches!(stage, WIRE_IN | OVERLAY_IN) {
            self.endpoint = server;
        }
    }

    /// The stage that saw the query first.
    #[inline(always)]
    pub(super) const fn first(&self) -> usize {
        self.first as usize
    }

    /// How long it has been waiting.
    #[inline(always)]
    #[must_use]
    pub const fn age(&self, now: u64) -> u64 {
        // Clocks of two processors may be a little apart.
        now.saturating_sub(self.start)
    }

    /// Whether an answer comes from where the query went.
    #[inline(always)]
    pub(super) fn is_from_server(&self, message: &Message) -> bool {
        self.server == message.server
    }

    #[inline(always)]
    pub(super) const fn key(&self, kind: DnsKind) -> DnsKey {
        DnsKey::new(kind, self.server, self.state as u32).at(self.endpoint)
    }

    /// What counts it as timed out: with the last stages that saw it.
    #[inline(always)]
    #[must_use]
    pub const fn timed_out(&self) -> DnsKey {
        let query = last(self.query_seen).saturating_sub(1);
        self.key(DnsKind::Timeout).with_stages(query, last(self.answer_seen))
    }

    /// What counts it as one of which the tracer has lost sight.
    #[inline(always)]
    #[must_use]
    pub const fn lost_sight(&self) -> DnsKey {
        self.key(DnsKind::Overwritten)
    }

    /// Who asks.
    #[must_use]
    pub fn client(&self) -> (IpAddr, u16) {
        (ip(self.client, self.state.into()), (self.exchange >> 16) as u16)
    }
}
