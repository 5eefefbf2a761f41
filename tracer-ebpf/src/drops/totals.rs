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
    let Some(counter) = DROP_TOTALS.get_ptr_mut(total as u32) else { return };
    // SAFETY: as in `add_to`.
    let counter = unsafe { &mut *counter };
    *counter = counter.wrapping_add(number);
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

/// Adds to this CPU's value of an entry; false when there is none.
///
/// From Linux 6.1 on the kernel skips, and counts as missed, a program that an interrupt would start
/// in the middle of itself (kernel/trace/bpf_trace.c). Before, such a drop is lost if it falls
/// into the few instructions that add to the same entry: an atomic add, which would close that
/// gap, cannot be had from a stable compiler for bpf.
#[inline(always)]
fn add_to<K>(map: &PerCpuHashMap<K, DropValue>, key: &K, packets: u64, bytes: u64) -> bool {
    let Some(value) = map.get_ptr_mut(key) else { return false };
    // SAFETY: this CPU's value, of an entry that is never removed; the program cannot be moved to
    // another CPU. What an interrupt may do to it is told above.
    unsafe { &mut *value }.count(packets, bytes);
    true
}
