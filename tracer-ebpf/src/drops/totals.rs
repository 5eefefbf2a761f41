//! The exact counts. Every packet is in exactly one of: a place, `other`, `elsewhere`, `unplaced`.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use tracer_common::drop::{self, DropKey, DropSlot, DropTotal, PROBES};

use crate::structure::layout;

/// Every CPU fills slots of its own, so that none waits for another and a place costs no hash of the kernel's.
#[map]
static PLACES: PerCpuArray<DropSlot> = PerCpuArray::with_max_entries(drop::PLACES, 0);

#[map]
static DROP_TOTALS: PerCpuArray<u64> = PerCpuArray::with_max_entries(drop::DROP_TOTALS, 0);

/// Counts packets at a place, or as `other` when there is no slot for it. `ethertype` as it lies
/// in memory.
///
/// From Linux 6.1 on the kernel skips, and counts as missed, a program that an interrupt would start
/// in the middle of itself (kernel/trace/bpf_trace.c). Before, such a drop is lost if it falls
/// into the few instructions that add to the same slot: an atomic add, which would close that
/// gap, cannot be had from a stable compiler for bpf.
#[inline(always)]
pub(crate) fn count_place(place: &DropKey, ethertype: u16, packets: u64) {
    let slots = layout().places();
    let first = place.first_slot(ethertype, slots);
    for probe in 0..PROBES {
        let Some(slot) = PLACES.get_ptr_mut((first + probe) & slots.wrapping_sub(1)) else { break };
        // SAFETY: this CPU's value of an array, and the program cannot be moved to another CPU.
        if unsafe { &mut *slot }.count(place, ethertype, packets) {
            return;
        }
    }
    add(DropTotal::Other, packets);
}

/// Adds to a total.
#[inline(always)]
pub(crate) fn add(total: DropTotal, number: u64) {
    let Some(counter) = DROP_TOTALS.get_ptr_mut(total as u32) else { return };
    // SAFETY: as above.
    let counter = unsafe { &mut *counter };
    *counter = counter.wrapping_add(number);
}
