//! From messages to what became of queries.

use super::{
    count::{DnsKey, DnsKind, bucket, code},
    slot::{DnsSlot, SLOTS},
};
use crate::{
    address::Address,
    stage::{OVERLAY_IN, OVERLAY_OUT, POD_IN, POD_OUT, WIRE_IN, WIRE_OUT},
};

/// A query or an answer. Addresses in words as they lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    pub(super) client: [u32; 4],
    pub(super) server: [u32; 4],
    /// The client's port and the query's identifier.
    pub(super) exchange: u32,
    flags: u16,
    /// Bits of the addresses.
    pub(super) bits: u8,
}

/// Where is counted, and what time it is.
pub trait Ledger {
    /// Nanoseconds of a clock that never goes back.
    fn now(&self) -> u64;

    /// How long a query may wait for its answer.
    fn timeout(&self) -> u64;

    /// Counts one, and nanoseconds.
    fn count(&self, key: &DnsKey, nanoseconds: u64);
}

/// The stage that sees an answer last, by the one that saw its query first.
#[inline(always)]
#[must_use]
pub const fn completes_at(first: usize) -> usize {
    match first {
        POD_OUT => POD_IN,
        OVERLAY_OUT => OVERLAY_IN,
        WIRE_IN => WIRE_OUT,
        OVERLAY_IN => OVERLAY_OUT,
        // From the node itself to its own pod.
        _ => POD_OUT,
    }
}

impl Message {
    /// From addresses and ports, source first, and the first word of the header: identifier and
    /// flags. `None` when it is neither a query to port 53 nor an answer from there.
    #[inline(always)]
    #[must_use]
    pub fn new<A: Address>(
        source: A,
        destination: A,
        [from, to]: [u16; 2],
        header: u32,
    ) -> Option<Self> {
        const PORT: u16 = 53;
        const ANSWER: u16 = 0x8000;
        let (identifier, flags) = (header >> 16, header as u16);
        let (client, server, port, at) = if flags & ANSWER == 0 {
            (source, destination, from, to)
        } else {
            (destination, source, to, from)
        };
        if at != PORT {
            return None;
        }
        let exchange = u32::from(port) << 16 | identifier;
        let bits = A::BITS as u8;
        Some(Self { client: client.widened(), server: server.widened(), exchange, flags, bits })
    }

    /// Whether it is an answer.
    #[inline(always)]
    #[must_use]
    pub const fn is_answer(&self) -> bool {
        self.flags & 0x8000 != 0
    }

    /// The index of its slot. Identifiers and ports that count up are spread evenly.
    #[inline(always)]
    #[must_use]
    pub const fn slot(&self) -> u32 {
        let [a, b, c, d] = self.client;
        let client = (a ^ b ^ c ^ d).wrapping_mul(0x85eb_ca6b);
        (self.exchange ^ client).wrapping_mul(0x9e37_79b1) >> (32 - SLOTS.ilog2())
    }
}

impl DnsSlot {
    /// A query has been seen at a stage. `may_be_first` says whether it may be the first one.
    #[inline(always)]
    pub fn query<L: Ledger>(
        &mut self,
        message: &Message,
        stage: usize,
        may_be_first: bool,
        ledger: &L,
    ) {
        let is_known = self.is_of(message);
        if is_known && !(may_be_first && self.first() == stage) {
            return self.see_query(stage, message.server);
        }
        if !may_be_first {
            // Its slot was taken, or it is the copy under another address of one that has its own.
            return;
        }
        let now = ledger.now();
        if self.is_open() {
            let is_over = self.age(now) > ledger.timeout();
            if is_known {
                ledger.count(&self.key(DnsKind::Retry).at([0; 4]), 0);
                if !is_over {
                    return;
                }
            }
            let left = if is_over { self.timed_out() } else { self.key(DnsKind::Overwritten) };
            // Counted afterwards: the less lies between what is read of a slot and what is written,
            // the seldomer two processors come into each other's way there.
            self.open(message, stage, now);
            ledger.count(&left, 0);
        } else {
            self.open(message, stage, now);
        }
        ledger.count(&self.key(DnsKind::Query).at([0; 4]), 0);
    }

    /// An answer has been seen at a stage.
    #[inline(always)]
    pub fn answer<L: Ledger>(&mut self, message: &Message, stage: usize, ledger: &L) {
        if !self.is_of(message) {
            return unmatched(message, stage, ledger);
        }
        if completes_at(self.first()) != stage {
            return self.see_answer(stage, message.server);
        }
        // A bridge that hands its packets to iptables translates addresses before its queries are
        // seen and after its answers are: there the port and the identifier must do.
        if !matches!(stage, POD_IN | POD_OUT) && !self.is_from_server(message) {
            return;
        }
        self.see_answer(stage, message.server);
        let latency = self.age(ledger.now());
        let kind = if latency > ledger.timeout() {
            ledger.count(&self.timed_out(), 0);
            DnsKind::Late
        } else {
            DnsKind::Answer
        };
        let key = self.key(kind).with_answer(code(message.flags), bucket(latency));
        self.close();
        ledger.count(&key, latency);
    }
}

/// Counted where every answer to a pod and every one to another node passes, and nowhere else: at
/// the stages before it may be under an address that its query has not.
#[inline(always)]
fn unmatched<L: Ledger>(message: &Message, stage: usize, ledger: &L) {
    if matches!(stage, POD_IN | WIRE_OUT) {
        ledger.count(&DnsKey::new(DnsKind::Unmatched, message.server, message.bits.into()), 0);
    }
}
