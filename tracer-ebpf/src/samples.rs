//! The first bytes of single packets, for userspace: one packet in so many of each stage, and the
//! first of everything rare. Nobody is woken up for them; what finds no room is counted.
//!
//! Where samples are switched off the verifier removes every call of this module.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_NOEXIST, BPF_RB_NO_WAKEUP},
    helpers::generated::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns, bpf_skb_load_bytes},
    macros::map,
    maps::{HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use tracer_common::{
    counter::ParseError,
    sample::{
        self, FIRST, RING_BYTES, SAMPLE_BYTES, SAMPLED_STAGES, SampleCounts, SampleHeader,
        SampleKind, SampleRecord, error_ticket,
    },
    sight::SightKey,
};

use crate::packet::Skb;

#[map]
static SAMPLES: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

#[map]
static SAMPLE_COUNTS: PerCpuArray<SampleCounts> = PerCpuArray::with_max_entries(SAMPLED_STAGES, 0);

/// The packet that is looked at, as far as it passes a stage: the stage's index and 1 in the upper half,
/// its segments in the lower.
#[map]
static PASSING: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// A packet is one of the first of its sight when it finds a ticket that nobody has taken. An older
/// sight may lose its tickets; what CPUs have counted of it keeps it from being sampled for ever.
#[map]
static SIGHT_TICKETS: LruHashMap<SightKey, u8> =
    LruHashMap::with_max_entries(sample::SIGHT_TICKETS, 0);

/// The same of parse errors, with room for all that there are.
#[map]
static ERROR_TICKETS: HashMap<u32, u8> = HashMap::with_max_entries(sample::ERROR_TICKETS, 0);

/// Overwritten by userspace as [`crate::config`]'s: one packet in so many is sampled, 0 for none.
#[unsafe(no_mangle)]
static SAMPLE_EVERY: u32 = 0;

/// The same: 1 where the kernel has a coarse clock to lend. The precise one costs as much as all the
/// rest of a sample.
#[unsafe(no_mangle)]
static COARSE_CLOCK: u32 = 0;

/// Notes that a packet passes a stage, for [`finish`]. False never happens: for the verifier's sake
/// the caller leaves then, so that it follows the counting once and not once more without the note.
#[inline(always)]
pub(crate) fn pass(stage: usize, segments: u32) -> bool {
    if every() == 0 {
        return true;
    }
    let Some(passing) = PASSING.get_ptr_mut(0) else { return false };
    // SAFETY: this CPU's value; tc programs run with bottom halves off, so nothing else on this CPU
    // touches it meanwhile.
    unsafe { *passing = (stage as u64 + 1) << 32 | u64::from(segments) };
    true
}

/// Takes a sample of the packet when it is its turn. Whoever ends with a packet calls it: what is kept
/// over the counting has the verifier follow all of it once for each way to that value.
#[inline(always)]
pub(crate) fn finish(skb: Skb) {
    if every() != 0 {
        take_turn(skb.0);
    }
}

/// Takes a sample of a packet that could not be parsed, if `before` it there were few on this CPU.
#[inline(always)]
pub(crate) fn malformed(skb: Skb, stage: usize, error: ParseError, before: u64) {
    if every() != 0 && before < FIRST {
        let kind = SampleKind::Malformed(error).number();
        first_malformed(skb.0, stage as u32, u32::from(kind));
    }
}

/// Takes a sample of a sight, if `before` it there were few on this CPU.
#[inline(always)]
pub(crate) fn sight(skb: Skb, stage: usize, key: &mut SightKey, before: u64) {
    if every() == 0 || before >= FIRST {
        return;
    }
    // One after the other: without CAP_PERFMON the verifier takes a loop for one without an end.
    if has_ticket(key, 1) || has_ticket(key, 2) || has_ticket(key, 3) || has_ticket(key, 4) {
        anomaly(skb.0, stage as u32, u32::from(key.kind_number()));
    }
}

#[inline(always)]
fn has_ticket(key: &mut SightKey, number: u8) -> bool {
    key.set_ticket(number);
    SIGHT_TICKETS.insert(&*key, 0, u64::from(BPF_NOEXIST)).is_ok()
}

// Functions of their own: the verifier has to remember less of them, and whoever takes no sample pays
// no register for them.

#[inline(never)]
fn take_turn(skb: *mut __sk_buff) {
    let Some(passing) = PASSING.get_ptr_mut(0) else { return };
    // SAFETY: as above.
    let passed = unsafe { core::mem::take(&mut *passing) };
    let Some(stage) = ((passed >> 32) as u32).checked_sub(1) else { return };
    let Some(counts) = counts(stage) else { return };
    if counts.pass(passed & u64::from(u32::MAX), u64::from(every())) {
        take(skb, counts, stage, u32::from(SampleKind::Turn.number()));
    }
}

#[inline(never)]
fn first_malformed(skb: *mut __sk_buff, stage: u32, kind: u32) {
    let has_ticket = |number| {
        let ticket = error_ticket(stage, kind, number);
        ERROR_TICKETS.insert(ticket, 0, u64::from(BPF_NOEXIST)).is_ok()
    };
    if has_ticket(1) || has_ticket(2) || has_ticket(3) || has_ticket(4) {
        anomaly(skb, stage, kind);
    }
}

const _: () = assert!(FIRST == 4, "as many tickets are asked for");

#[inline(never)]
fn anomaly(skb: *mut __sk_buff, stage: u32, kind: u32) {
    let Some(counts) = counts(stage) else { return };
    counts.add_anomaly();
    take(skb, counts, stage, kind);
}

#[inline(always)]
fn take(skb: *mut __sk_buff, counts: &mut SampleCounts, stage: u32, kind: u32) {
    let Some(mut entry) = SAMPLES.reserve::<SampleRecord>(0) else {
        counts.add_lost();
        return;
    };
    // SAFETY: the kernel has reserved the memory of a record.
    let (header, bytes) = unsafe { SampleRecord::parts(entry.as_mut_ptr()) };
    let skb = Skb(skb);
    let captured = load(skb, bytes);
    let lengths = [skb.length(), captured];
    let value = SampleHeader::new(now(), skb.ifindex(), lengths, stage as u8, kind as u8);
    // SAFETY: as above.
    unsafe { header.write(value) };
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
}

/// Copies a packet's first bytes and says how many.
#[inline(always)]
fn load(skb: Skb, bytes: *mut u8) -> u32 {
    const ALL: u32 = SAMPLE_BYTES as u32;
    let captured = if skb.length() >= ALL {
        ALL
    } else {
        // Read once more and cut to what fits, so that the verifier sees it in the number that is
        // handed over. An empty packet would ask for all, and be refused.
        // SAFETY: the kernel hands a valid context to the program.
        let length = unsafe { &raw const (*skb.0).len };
        // SAFETY: as above.
        let length = unsafe { length.read_volatile() };
        (length.wrapping_sub(1) & (ALL - 1)) + 1
    };
    // SAFETY: there is room for all of them, and the kernel checks the length against the packet.
    let status = unsafe { bpf_skb_load_bytes(skb.0.cast(), 0, bytes.cast(), captured) };
    if status == 0 { captured } else { 0 }
}

#[inline(always)]
fn counts(stage: u32) -> Option<&'static mut SampleCounts> {
    let counts = SAMPLE_COUNTS.get_ptr_mut(stage)?;
    // SAFETY: this CPU's value; tc programs run with bottom halves off, so nothing else on this CPU
    // touches it meanwhile, and each function asks once.
    Some(unsafe { &mut *counts })
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: a reference is valid; volatile, because the loader replaces the value.
    if unsafe { core::ptr::read_volatile(&raw const COARSE_CLOCK) } != 0 {
        // SAFETY: it reads a clock.
        unsafe { bpf_ktime_get_coarse_ns() }
    } else {
        // SAFETY: as above.
        unsafe { bpf_ktime_get_ns() }
    }
}

#[inline(always)]
fn every() -> u32 {
    // SAFETY: a reference is valid; volatile, because the loader replaces the value.
    unsafe { core::ptr::read_volatile(&raw const SAMPLE_EVERY) }
}
