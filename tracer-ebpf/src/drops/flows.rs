//! The tables of dropped flows, one for each IP version. What they evict, or refuse, is in its
//! place's count all the same.

use aya_ebpf::{
    bindings::BPF_NOEXIST, helpers::bpf_get_prandom_u32, macros::map, maps::LruPerCpuHashMap,
};
use tracer_common::drop::{DROP_FLOWS, DropFlowKey, DropFlowValue, DropTotal};

use crate::{header::Addressed, totals};

type Table<A> = LruPerCpuHashMap<DropFlowKey<A>, DropFlowValue>;

#[map]
static DROP_FLOWS4: Table<u32> = LruPerCpuHashMap::with_max_entries(DROP_FLOWS, 0);

#[map]
static DROP_FLOWS6: Table<[u32; 4]> = LruPerCpuHashMap::with_max_entries(DROP_FLOWS, 0);

/// An IP version whose flows are counted.
pub(crate) trait Counted: Addressed {
    fn flows() -> &'static Table<Self>;
}

impl Counted for u32 {
    #[inline(always)]
    fn flows() -> &'static Table<Self> {
        &DROP_FLOWS4
    }
}

impl Counted for [u32; 4] {
    #[inline(always)]
    fn flows() -> &'static Table<Self> {
        &DROP_FLOWS6
    }
}

/// Counts packets of a flow at a place.
#[inline(always)]
pub(crate) fn count<A: Counted>(key: &DropFlowKey<A>, packets: u32) {
    if add_to(key, packets) {
        return;
    }
    // SAFETY: the helper has no preconditions.
    let random = unsafe { bpf_get_prandom_u32() };
    let value = DropFlowValue::new(packets, random | 1);
    if A::flows().insert(key, &value, u64::from(BPF_NOEXIST)).is_ok() {
        totals::add(DropTotal::FlowInserts, 1);
    } else {
        // Another CPU was faster: the entry exists, with zeros for this CPU.
        add_to(key, packets);
    }
}

#[inline(always)]
fn add_to<A: Counted>(key: &DropFlowKey<A>, packets: u32) -> bool {
    let Some(value) = A::flows().get_ptr_mut(key) else { return false };
    // SAFETY: this CPU's value; the program cannot be moved to another CPU, and an evicted entry
    // stays readable until it ends (RCU). What an interrupt may do to it is told in `totals`.
    unsafe { &mut *value }.count(packets);
    true
}
