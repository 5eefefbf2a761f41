//! The counts. Every packet is in exactly one of: a place, `other`, `elsewhere`, `unplaced`.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    macros::map,
    maps::{PerCpuArray, PerCpuHashMap},
};
use tracer_common::drop::{self, DropKey, DropKindKey, DropTotal, DropValue};

/// Pre-allocated and never evicting, so that what is in it is exact.
#[map]
static DROPS: PerCpuHashMap<DropKey, DropValue> = PerCpuHashMap::with_max_entries(drop::DROPS, 0);

/// As [`DROPS`], more finely.
#[map]
static DROP_KINDS: PerCpuHashMap<DropKindKey, DropValue> =
    PerCpuHashMap::with_max_entries(drop::DROP_KINDS, 0);

#[map]
static DROP_TOTALS: PerCpuArray<u64> = PerCpuArray::with_max_entries(drop::DROP_TOTALS, 0);

/// Counts packets at a place, or as `other` when the map is full.
#[inline(always)]
pub(crate) fn count_place(place: &DropKey, packets: u64, bytes: u64) {
    if !count(&DROPS, place, packets, bytes) {
        add(DropTotal::Other, packets);
        add(DropTotal::OtherBytes, bytes);
    }
}

/// Counts packets of a kind; when the map is full they are in the place's count alone.
#[inline(always)]
pub(crate) fn count_kind(kind: &DropKindKey, packets: u64, bytes: u64) {
    if !count(&DROP_KINDS, kind, packets, bytes) {
        add(DropTotal::OtherKind, packets);
    }
}

/// Adds to a total.
#[inline(always)]
pub(crate) fn add(total: DropTotal, number: u64) {
    if let Some(counter) = DROP_TOTALS.get_ptr_mut(total as u32) {
        increase(counter, number);
    }
}

/// Adds to an entry, which is made when it is not there; false when it cannot be made.
#[inline(always)]
fn count<K>(map: &PerCpuHashMap<K, DropValue>, key: &K, packets: u64, bytes: u64) -> bool {
    if add_to(map, key, packets, bytes) {
        return true;
    }
    // Another CPU may be faster: what counts is that the entry is there then.
    let _ = map.insert(key, DropValue::ZERO, u64::from(BPF_NOEXIST));
    add_to(map, key, packets, bytes)
}

#[inline(always)]
fn add_to<K>(map: &PerCpuHashMap<K, DropValue>, key: &K, packets: u64, bytes: u64) -> bool {
    let Some(value) = map.get_ptr_mut(key) else { return false };
    // SAFETY: the map's pointer is to a value.
    let (counted, sized) = unsafe { DropValue::counters(value) };
    increase(counted, packets);
    increase(sized, bytes);
    true
}

/// Adds to a counter of this CPU. From Linux 6.1 on the kernel skips, and counts as missed, a program
/// that an interrupt would start in the middle of itself (kernel/trace/bpf_trace.c). Before, such
/// a drop is lost if it comes to the same counter between these few instructions; an atomic add,
/// which would close that gap, cannot be had from a stable compiler for bpf.
#[inline(always)]
fn increase(counter: *mut u64, number: u64) {
    // SAFETY: a pointer into this CPU's value in a map, which stays until the program ends.
    let before = unsafe { counter.read() };
    // SAFETY: as above.
    unsafe { counter.write(before.wrapping_add(number)) };
}
