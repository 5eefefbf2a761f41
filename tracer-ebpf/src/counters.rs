//! Counters of the programs' own doings.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use tracer_common::counter::{self, Counter, ParseError, parse_error_index};

#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::COUNTERS, 0);

#[map]
static PARSE_ERRORS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(counter::PARSE_ERROR_ENTRIES, 0);

/// Adds one to a counter and says what it was on this CPU.
#[inline(always)]
pub(crate) fn add(counter: Counter) -> u64 {
    increment(&COUNTERS, counter as u32)
}

/// Counts a packet that could not be parsed and says how many there were before it on this CPU.
#[inline(always)]
pub(crate) fn add_parse_error(stage: usize, error: ParseError) -> u64 {
    increment(&PARSE_ERRORS, parse_error_index(stage, error))
}

#[inline(always)]
fn increment(map: &PerCpuArray<u64>, index: u32) -> u64 {
    let Some(counter) = map.get_ptr_mut(index) else { return 0 };
    // SAFETY: the pointer is this CPU's value; tc programs run with bottom halves off, so nothing
    // else on this CPU touches it meanwhile.
    let counter = unsafe { &mut *counter };
    let before = *counter;
    *counter += 1;
    before
}
