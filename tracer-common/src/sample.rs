//! Samples: the first bytes of single packets, as the programs hand them up through a ring buffer.

use crate::{
    counter::{PARSE_ERRORS, ParseError},
    sight::SightKind,
    stage::FLOW_COUNTS,
};

/// Bytes of a packet that a record has room for.
pub const SAMPLE_BYTES: usize = 128;
/// Records that are taken of every anomaly.
pub const FIRST: u64 = 4;
/// What is sampled: the stages and leaks.
pub const SAMPLED_STAGES: u32 = FLOW_COUNTS as u32;
/// Bytes of the ring buffer while samples are taken: some 6,500 records.
pub const RING_BYTES: u32 = 1 << 20;
/// Tickets for the first records of sights. The least used ones are forgotten.
pub const SIGHT_TICKETS: u32 = 2048;
/// Tickets for those of parse errors: all that there can be.
pub const ERROR_TICKETS: u32 = (SAMPLED_STAGES as usize * PARSE_ERRORS * FIRST as usize) as u32;

/// Kinds from here on are parse errors; below are the numbers of [`SightKind`], and 0.
const PARSE_ERROR: u8 = 128;

/// Why a packet was taken, as a record has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleKind {
    /// It was its turn: one in so many.
    Turn,
    /// It is one of the first of a sight.
    Sight(SightKind),
    /// It is one of the first with a parse error.
    Malformed(ParseError),
}

/// What stands before the bytes. Numbers in the machine's byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleHeader {
    time: u64,
    length: u32,
    ifindex: u32,
    captured: u32,
    stage: u8,
    kind: u8,
    _pad: [u8; 2],
}

/// A record of the ring buffer. Of its bytes only those that were captured mean anything.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleRecord {
    header: SampleHeader,
    bytes: [u8; SAMPLE_BYTES],
}

/// What one CPU has taken at a stage.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleCounts {
    position: u64,
    taken: u64,
    anomalies: u64,
    lost: u64,
}

const _: () = {
    assert!(size_of::<SampleHeader>() == 24);
    assert!(size_of::<SampleRecord>() == 24 + SAMPLE_BYTES);
    assert!(core::mem::offset_of!(SampleRecord, bytes) == 24);
    assert!(align_of::<SampleRecord>() == 8);
    assert!(size_of::<SampleCounts>() == 32);
};

impl SampleKind {
    /// The number in a record.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Turn => 0,
            Self::Sight(kind) => kind as u8,
            Self::Malformed(error) => PARSE_ERROR + error as u8,
        }
    }

    /// The kind with a number; `None` for what no program writes.
    #[must_use]
    pub fn of(number: u8) -> Option<Self> {
        if let Some(error) = number.checked_sub(PARSE_ERROR) {
            return ParseError::ALL.get(usize::from(error)).copied().map(Self::Malformed);
        }
        if number == 0 { Some(Self::Turn) } else { SightKind::of(number).map(Self::Sight) }
    }
}

impl SampleHeader {
    /// A packet of so many bytes at a device, of which some were captured. The time is the kernel's
    /// monotonic clock, in nanoseconds.
    #[inline(always)]
    #[must_use]
    pub const fn new(
        time: u64,
        ifindex: u32,
        [length, captured]: [u32; 2],
        stage: u8,
        kind: u8,
    ) -> Self {
        Self { time, length, ifindex, captured, stage, kind, _pad: [0; 2] }
    }

    /// When it was taken, by the kernel's monotonic clock in nanoseconds.
    #[must_use]
    pub const fn time(&self) -> u64 {
        self.time
    }

    /// Length of the packet in bytes.
    #[must_use]
    pub const fn length(&self) -> u32 {
        self.length
    }

    /// Index of the device.
    #[must_use]
    pub const fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Index of the stage in [`crate::stage`].
    #[must_use]
    pub const fn stage(&self) -> usize {
        self.stage as usize
    }

    /// Why it was taken; `None` for what no program writes.
    #[must_use]
    pub fn kind(&self) -> Option<SampleKind> {
        SampleKind::of(self.kind)
    }
}

impl SampleRecord {
    /// A record of these bytes; those that do not fit are left out.
    #[must_use]
    pub fn new(header: SampleHeader, packet: &[u8]) -> Self {
        let captured = packet.len().min(SAMPLE_BYTES);
        let mut bytes = [0; SAMPLE_BYTES];
        bytes[..captured].copy_from_slice(&packet[..captured]);
        Self { header: SampleHeader { captured: captured as u32, ..header }, bytes }
    }

    /// What stands before the bytes.
    #[must_use]
    pub const fn header(&self) -> &SampleHeader {
        &self.header
    }

    /// The bytes that were captured.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let captured = (self.header.captured as usize).min(SAMPLE_BYTES);
        &self.bytes[..captured]
    }

    /// Where a program puts the two parts of a record that it has the memory for.
    ///
    /// # Safety
    /// `record` must be valid for writes.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn parts(record: *mut Self) -> (*mut SampleHeader, *mut u8) {
        // SAFETY: the caller's promise; no reference to bytes that are not there yet is made.
        let header = unsafe { &raw mut (*record).header };
        // SAFETY: as above.
        let bytes = unsafe { &raw mut (*record).bytes };
        (header, bytes.cast())
    }
}

impl SampleCounts {
    /// Nothing yet, and so many packets after the last that was taken.
    #[must_use]
    pub const fn beginning_at(position: u64) -> Self {
        Self { position, taken: 0, anomalies: 0, lost: 0 }
    }

    /// Whether one is due among these packets, of `every` that pass. It counts as taken then. Of a
    /// train longer than `every` one is taken.
    #[inline(always)]
    #[must_use]
    pub fn pass(&mut self, packets: u64, every: u64) -> bool {
        self.position += packets;
        let is_due = self.position >= every;
        if is_due {
            // What a train has more than that begins anew: a division costs as much as a map.
            let left = self.position - every;
            self.position = if left < every { left } else { 0 };
            self.taken += 1;
        }
        is_due
    }

    /// One was taken for what is rare about it.
    #[inline(always)]
    pub const fn add_anomaly(&mut self) {
        self.anomalies += 1;
    }

    /// One that was taken found no room in the ring buffer.
    #[inline(always)]
    pub const fn add_lost(&mut self) {
        self.lost += 1;
    }

    /// Packets whose turn it was.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// Packets that were taken for what is rare about them.
    #[must_use]
    pub const fn anomalies(&self) -> u64 {
        self.anomalies
    }

    /// Those of both for which there was no room.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

/// A ticket for one of the first [`FIRST`] records of a kind at a stage.
#[inline(always)]
#[must_use]
pub const fn error_ticket(stage: u32, kind: u32, number: u32) -> u32 {
    stage << 16 | kind << 8 | number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_what_its_number_says() {
        for kind in [
            SampleKind::Turn,
            SampleKind::Sight(SightKind::IcmpError),
            SampleKind::Sight(SightKind::Claim),
            SampleKind::Malformed(ParseError::TruncatedEthernet),
            SampleKind::Malformed(ParseError::InnerIpv6),
        ] {
            assert_eq!(SampleKind::of(kind.number()), Some(kind));
        }
        for stranger in [11, 127, PARSE_ERROR + PARSE_ERRORS as u8, 255] {
            assert_eq!(SampleKind::of(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn a_record_shows_what_was_captured_and_never_more_than_it_holds() {
        let header = SampleHeader::new(5, 7, [9000, 0], 3, 2);
        let record = SampleRecord::new(header, &[1; 200]);
        assert_eq!(record.bytes(), [1; SAMPLE_BYTES]);
        let short = SampleRecord::new(header, &[1, 2, 3]);
        assert_eq!(short.bytes(), [1, 2, 3]);
        let header = SampleHeader { captured: u32::MAX, ..header };
        assert_eq!(SampleRecord { header, ..record }.bytes().len(), SAMPLE_BYTES);
        assert_eq!((header.time(), header.ifindex(), header.length()), (5, 7, 9000));
        assert_eq!(header.kind(), Some(SampleKind::Sight(SightKind::OtherVni)));
    }

    #[test]
    fn exactly_one_in_so_many_is_due() {
        let taken = |every: u64, trains: &[u64]| {
            let mut counts = SampleCounts::default();
            let due = trains.iter().filter(|packets| counts.pass(**packets, every)).count();
            assert_eq!(due as u64, counts.taken());
            due
        };
        assert_eq!(taken(1, &[1; 50]), 50);
        assert_eq!(taken(10, &[1; 99]), 9);
        assert_eq!(taken(10, &[1; 100]), 10);
        assert_eq!(taken(10, &[3; 100]), 30, "by segments");
        assert_eq!(taken(10, &[45; 20]), 20, "one of a train");
        let mut late = SampleCounts::beginning_at(7);
        assert!(!late.pass(2, 10) && late.pass(1, 10));
    }
}
