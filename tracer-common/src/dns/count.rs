//! What is counted of DNS.

use core::net::IpAddr;

use crate::address::Address;

/// Entries of [`crate::names::DNS_COUNTS`]: a server that is well takes about twenty.
pub const COUNTS: u32 = 4096;

/// Latencies up to which a bucket reaches, in nanoseconds. Behind the last is one bucket more.
pub const LATENCY_BOUNDS: [u64; 13] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
];

/// Buckets of latencies.
pub const BUCKETS: usize = LATENCY_BOUNDS.len() + 1;

/// What happened to a query or with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DnsKind {
    /// A query was seen at the first stage.
    Query = 0,
    /// The same query once more, before its answer.
    Retry = 1,
    /// It was answered in time: with a code, after a time.
    Answer = 2,
    /// It was not answered in time: the last stages that saw the query and an answer.
    Timeout = 3,
    /// Its answer came all the same, after the timeout: with a code, after a time.
    Late = 4,
    /// Another query took its slot: what became of it is not known.
    Overwritten = 5,
    /// An answer to no open query.
    Unmatched = 6,
}

/// Kinds of [`DnsKind`].
pub const KINDS: [DnsKind; 7] = [
    DnsKind::Query,
    DnsKind::Retry,
    DnsKind::Answer,
    DnsKind::Timeout,
    DnsKind::Late,
    DnsKind::Overwritten,
    DnsKind::Unmatched,
];

/// The answer's code is that of an answer that was cut off (TC, RFC 1035, section 4.1.1).
const TRUNCATED: u8 = 0x80;
const RCODE: u8 = 0x0f;

/// In the place of the bits of addresses: no server's for which there was room.
const NO_ROOM: u32 = 0;
/// No one server's, of which the rest is known all the same.
const MANY: u32 = 1;

/// What is counted, and of whom. Addresses in words as they lie in memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DnsKey {
    server: [u32; 4],
    endpoint: [u32; 4],
    kind: u8,
    /// Of an answer its code; of a timeout the last stage that saw an answer, plus one.
    code: u8,
    bucket: u8,
    /// Of a timeout the last stage that saw the query.
    stage: u8,
    bits: u32,
}

/// How often, and for how long altogether.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DnsCount {
    /// How often.
    pub times: u64,
    /// Sum of the latencies.
    pub nanoseconds: u64,
}

const _: () = {
    assert!(size_of::<DnsKey>() == 40);
    assert!(align_of::<DnsKey>() == 4);
    assert!(core::mem::offset_of!(DnsKey, bits) == 36);
    assert!(size_of::<DnsCount>() == 16);
};

/// The bucket of a latency.
#[inline(always)]
pub(super) fn bucket(nanoseconds: u64) -> u8 {
    let mut bucket = 0;
    for bound in LATENCY_BOUNDS {
        if nanoseconds <= bound {
            return bucket;
        }
        bucket += 1;
    }
    bucket
}

/// An answer's code and whether it is cut off, from the flags of its header.
#[inline(always)]
pub(super) const fn code(flags: u16) -> u8 {
    let truncated = if flags & 0x0200 != 0 { TRUNCATED } else { 0 };
    flags as u8 & RCODE | truncated
}

impl DnsKey {
    /// Of a server; `bits` are those of its addresses.
    #[inline(always)]
    pub(super) const fn new(kind: DnsKind, server: [u32; 4], bits: u32) -> Self {
        let (endpoint, kind) = ([0; 4], kind as u8);
        Self { server, endpoint, kind, code: 0, bucket: 0, stage: 0, bits }
    }

    #[inline(always)]
    pub(super) const fn at(mut self, endpoint: [u32; 4]) -> Self {
        self.endpoint = endpoint;
        self
    }

    #[inline(always)]
    pub(super) const fn with_answer(mut self, code: u8, bucket: u8) -> Self {
        self.code = code;
        self.bucket = bucket;
        self
    }

    #[inline(always)]
    pub(super) const fn with_stages(mut self, query: u8, answer: u8) -> Self {
        self.stage = query;
        self.code = answer;
        self
    }

    /// The same of servers for which there is no entry.
    #[inline(always)]
    #[must_use]
    pub const fn of_others(&self) -> Self {
        Self::others(self.kind)
    }

    /// One of each kind, of servers for which there is no entry.
    #[must_use]
    pub fn all_others() -> [Self; KINDS.len()] {
        KINDS.map(|kind| Self::others(kind as u8))
    }

    #[inline(always)]
    const fn others(kind: u8) -> Self {
        Self { server: [0; 4], endpoint: [0; 4], kind, code: 0, bucket: 0, stage: 0, bits: NO_ROOM }
    }

    /// The same whichever server it is of, with all else that is known of it.
    #[must_use]
    pub const fn of_many(mut self) -> Self {
        if self.bits != NO_ROOM {
            (self.server, self.endpoint, self.bits) = ([0; 4], [0; 4], MANY);
        }
        self
    }

    /// The same whichever endpoint answered.
    #[must_use]
    pub const fn of_any_endpoint(mut self) -> Self {
        self.endpoint = [0; 4];
        self
    }

    /// The same of a timeout whatever was seen of an answer, and wherever it came from.
    #[must_use]
    pub fn by_query(mut self) -> Self {
        if self.kind() == Some(DnsKind::Timeout) {
            self.code = 0;
            self.endpoint = [0; 4];
        }
        self
    }

    /// Whether it is no one server's.
    #[must_use]
    pub const fn is_of_others(&self) -> bool {
        matches!(self.bits, NO_ROOM | MANY)
    }

    /// Whether codes, stages and latencies were counted: not of servers for which there was no entry.
    #[must_use]
    pub const fn has_details(&self) -> bool {
        self.bits != NO_ROOM
    }

    /// What it counts; `None` for what no program writes.
    #[must_use]
    pub fn kind(&self) -> Option<DnsKind> {
        KINDS.into_iter().find(|kind| *kind as u8 == self.kind)
    }

    /// The server as the query's first stage saw it; of an unmatched answer its sender.
    #[must_use]
    pub fn server(&self) -> IpAddr {
        ip(self.server, self.bits)
    }

    /// Where queries to the server really go; `None` where no stage told.
    #[must_use]
    pub fn endpoint(&self) -> Option<IpAddr> {
        (self.endpoint != [0; 4]).then(|| ip(self.endpoint, self.bits))
    }

    /// The answer's code (RFC 6895, section 2.3).
    #[must_use]
    pub const fn rcode(&self) -> u8 {
        self.code & RCODE
    }

    /// The answer was cut off.
    #[must_use]
    pub const fn is_truncated(&self) -> bool {
        self.code & TRUNCATED != 0
    }

    /// The bucket of its latency.
    #[must_use]
    pub const fn bucket(&self) -> usize {
        self.bucket as usize
    }

    /// The last stages that saw the query and an answer, as indices of [`crate::stage`].
    #[must_use]
    pub const fn last_stages(&self) -> (usize, Option<usize>) {
        (self.stage as usize, (self.code as usize).checked_sub(1))
    }
}

/// The address that four words stand for.
pub(super) fn ip(words: [u32; 4], bits: u32) -> IpAddr {
    if bits == <u32 as Address>::BITS { words[0].ip().into() } else { words.ip().into() }
}
