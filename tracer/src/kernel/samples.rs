//! Samples: the first bytes of single packets, taken out of the ring buffer.

use std::{num::NonZeroU32, time::Duration};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray, PerCpuValues, RingBuf},
};
use jiff::Timestamp;
use tracer_common::{
    names,
    sample::{RING_BYTES, SAMPLED_STAGES, SampleCounts, SampleKind, SampleRecord},
    stage::{WIRE_IN, WIRE_OUT},
};

use super::{clock::monotonic, minimum::is_before, session::possible_cpus};
use crate::evidence::Stage;

/// Records that the ring buffer holds at most: each has a header of eight bytes there.
const MOST: usize = RING_BYTES as usize / (size_of::<SampleRecord>() + 8);

/// The first bytes of a packet, and why they were taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub time: Timestamp,
    /// The stage, or `leak`.
    pub stage: &'static str,
    /// Index of the device.
    pub ifindex: u32,
    /// Whether it was seen at an uplink.
    pub is_at_uplink: bool,
    /// Why it was taken.
    pub kind: SampleKind,
    /// Length of the whole packet in bytes.
    pub length: u32,
    /// Its first bytes.
    pub bytes: Vec<u8>,
}

/// What was taken at one stage since the programs were loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SampleReading {
    /// Packets whose turn it was.
    pub taken: u64,
    /// Packets that were taken for what is rare about them.
    pub anomalies: u64,
    /// Those of both for which the ring buffer had no room.
    pub lost: u64,
}

/// The ring buffer.
pub(super) struct Samples {
    ring: RingBuf<MapData>,
    /// When the newest that was read had been taken. CPUs' records may stand in another order.
    last: Timestamp,
}

// === impl Samples ===

impl Samples {
    /// Begins to read. The first packet's turn differs from CPU to CPU, so that those of a short time
    /// are one in `every` too.
    pub(super) fn start(ebpf: &mut Ebpf, every: NonZeroU32) -> Result<Self> {
        let map = ebpf.map_mut(names::SAMPLE_COUNTS).context("the object counts no samples")?;
        let mut counts: PerCpuArray<&mut MapData, SampleCounts> = map.try_into()?;
        for stage in 0..SAMPLED_STAGES {
            let values = PerCpuValues::try_from(phases(every, possible_cpus()))?;
            counts.set(stage, values, 0).context("setting the first turns")?;
        }
        let ring = ebpf.take_map(names::SAMPLES).context("the object has no ring buffer")?;
        let ring = RingBuf::try_from(ring).context("mapping the ring buffer of samples")?;
        Ok(Self { ring, last: Timestamp::UNIX_EPOCH })
    }

    /// What has been taken since the last call, as far as there was room; no more than fits at once,
    /// however many come meanwhile.
    pub(super) fn take(&mut self) -> Vec<Sample> {
        let clock = Clock::now();
        let mut samples = Vec::new();
        while samples.len() < MOST {
            let Some(record) = self.ring.next() else { break };
            // A record of another length is no program's of ours.
            if let Some(sample) = record_of(&record).and_then(|it| sample(&it, &clock)) {
                samples.push(sample);
            }
        }
        for sample in &mut samples {
            self.last = self.last.max(sample.time);
            sample.time = self.last;
        }
        samples
    }
}

/// Whether the kernel lends its coarse clock to programs (kernel/bpf/helpers.c, 5.11).
pub(super) fn has_coarse_clock(release: &str) -> bool {
    !is_before(release, (5, 11))
}

/// What was taken, by stage.
///
/// # Errors
/// When the map is missing or cannot be read.
pub(super) fn read(ebpf: &Ebpf) -> Result<Vec<SampleReading>> {
    let map = ebpf.map(names::SAMPLE_COUNTS).context("the object counts no samples")?;
    let counts: PerCpuArray<&MapData, SampleCounts> = map.try_into()?;
    (0..SAMPLED_STAGES)
        .map(|stage| {
            let values = counts.get(&stage, 0).context("reading what was sampled")?;
            Ok(values.iter().fold(SampleReading::default(), |sum, it| SampleReading {
                taken: sum.taken + it.taken(),
                anomalies: sum.anomalies + it.anomalies(),
                lost: sum.lost + it.lost(),
            }))
        })
        .collect()
}

/// Where each CPU begins, as evenly as can be.
fn phases(every: NonZeroU32, cpus: u32) -> Vec<SampleCounts> {
    let every = u64::from(every.get());
    let position = |cpu: u32| every * u64::from(cpu) / u64::from(cpus.max(1));
    (0..cpus).map(|cpu| SampleCounts::beginning_at(position(cpu))).collect()
}

fn record_of(bytes: &[u8]) -> Option<SampleRecord> {
    if bytes.len() != size_of::<SampleRecord>() {
        return None;
    }
    // SAFETY: there are as many bytes as a record has, and every pattern of them is one.
    Some(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) })
}

/// `None` for what no program writes.
fn sample(record: &SampleRecord, clock: &Clock) -> Option<Sample> {
    let header = record.header();
    let stage = header.stage();
    Some(Sample {
        time: clock.at(header.time()),
        stage: stage_name(stage)?,
        ifindex: header.ifindex(),
        is_at_uplink: stage == WIRE_OUT || stage == WIRE_IN,
        kind: header.kind()?,
        length: header.length(),
        bytes: record.bytes().to_vec(),
    })
}

/// The name of a stage of samples; `None` for what there is not.
fn stage_name(stage: usize) -> Option<&'static str> {
    Stage::ALL
        .get(stage)
        .map(|it| it.name())
        .or((stage as u32 + 1 == SAMPLED_STAGES).then_some("leak"))
}

/// What time it is by both clocks.
struct Clock {
    now: Timestamp,
    monotonic: Duration,
}

impl Clock {
    fn now() -> Self {
        let monotonic = monotonic();
        Self { now: Timestamp::now(), monotonic: monotonic.unwrap_or_default() }
    }

    /// The time of day at a moment of the kernel's monotonic clock; never later than now.
    fn at(&self, nanoseconds: u64) -> Timestamp {
        let ago = self.monotonic.saturating_sub(Duration::from_nanos(nanoseconds));
        self.now.checked_sub(ago).unwrap_or(self.now)
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::{
        sample::SampleHeader,
        stage::{LEAK, POD_IN},
    };

    use super::*;

    fn clock() -> Clock {
        let now = "2026-01-01T12:00:10Z".parse().unwrap();
        Clock { now, monotonic: Duration::from_secs(100) }
    }

    fn record(time: u64, stage: u8, kind: u8) -> SampleRecord {
        SampleRecord::new(SampleHeader::new(time, 7, [1500, 0], stage, kind), &[1, 2, 3])
    }

    #[test]
    fn a_record_is_read_with_the_time_of_day() {
        let found = sample(&record(95_000_000_000, WIRE_IN as u8, 2), &clock()).unwrap();
        assert_eq!(found.time.to_string(), "2026-01-01T12:00:05Z");
        assert_eq!((found.stage, found.is_at_uplink, found.ifindex), ("wire_in", true, 7));
        assert_eq!((found.length, found.bytes.as_slice()), (1500, [1, 2, 3].as_slice()));
        let late = sample(&record(u64::MAX, POD_IN as u8, 0), &clock()).unwrap();
        assert_eq!((late.time, late.is_at_uplink), (clock().now, false));
    }

    #[test]
    fn what_no_program_writes_is_left_out() {
        assert_eq!(sample(&record(0, LEAK as u8, 0), &clock()).unwrap().stage, "leak");
        assert_eq!(sample(&record(0, LEAK as u8 + 1, 0), &clock()), None);
        assert_eq!(sample(&record(0, 0, 99), &clock()), None);
        assert_eq!(record_of(&[0; 151]), None);
        assert!(record_of(&[0; 152]).is_some());
    }

    #[test]
    fn first_turns_are_spread_over_the_cpus() {
        let every = NonZeroU32::new(1000).unwrap();
        let expected = [0, 250, 500, 750].map(SampleCounts::beginning_at);
        assert_eq!(phases(every, 4), expected);
        assert_eq!(phases(NonZeroU32::MIN, 2), [SampleCounts::default(); 2]);
    }
}
