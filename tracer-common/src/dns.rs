//! DNS over UDP, paired: a slot for each query that waits for its answer, and what became of those
//! that did. The pairing is pure, so that the same code runs in the kernel and in tests.
//!
//! Every query that is opened in a slot leaves it exactly once: answered, timed out or overwritten.
//! So that queries = answers + timeouts + overwritten + those that are still open.

mod count;
mod pair;
mod slot;
#[cfg(test)]
mod tests;

pub use self::{
    count::{BUCKETS, COUNTS, DnsCount, DnsKey, DnsKind, KINDS, LATENCY_BOUNDS},
    pair::{Ledger, Message, completes_at},
    slot::{DnsSlot, SLOTS},
};
