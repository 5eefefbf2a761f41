//! The flow table.

use aya_ebpf::{
    bindings::BPF_NOEXIST, helpers::bpf_get_prandom_u32, macros::map, maps::LruPerCpuHashMap,
};
use tracer_common::{
    counter::Counter,
    flow::{Class, FLOWS, FlowKey4, FlowValue},
    stage::leaves,
};

use crate::{config, counters, peers};

#[map]
static FLOWS4: LruPerCpuHashMap<FlowKey4, FlowValue> = LruPerCpuHashMap::with_max_entries(FLOWS, 0);

/// Counts a packet of a flow at a stage and says to whom the flow belongs.
#[inline(always)]
pub(crate) fn count(key: FlowKey4, stage: usize, packets: u32, outer_remote: Option<u32>) -> Class {
    match FLOWS4.get_ptr_mut(key) {
        // SAFETY: this CPU's value; tc programs run with bottom halves off, so nothing else on
        // this CPU touches it, and an evicted entry stays readable until this program ends (RCU).
        Some(value) => add(unsafe { &mut *value }, &key, stage, packets, outer_remote),
        None => insert(&key, stage, packets, outer_remote),
    }
}

#[inline(always)]
fn add(
    value: &mut FlowValue,
    key: &FlowKey4,
    stage: usize,
    packets: u32,
    outer_remote: Option<u32>,
) -> Class {
    value.count(stage, packets);
    if let Some(address) = outer_remote {
        value.set_outer_remote(address);
    }
    if let Some(class) = value.class(stage) {
        return class;
    }
    let class = classify(key, stage);
    value.set_class(stage, class);
    class
}

#[inline(never)]
fn insert_value(key: &FlowKey4, value: &FlowValue, stage: usize, packets: u32) -> u32 {
    if FLOWS4.insert(key, value, u64::from(BPF_NOEXIST)).is_ok() {
        counters::add(Counter::FlowInserts);
        return 0;
    }
    match FLOWS4.get_ptr_mut(key) {
        // Another CPU was faster: the entry exists, with zeros for this CPU.
        // SAFETY: as in `count`.
        Some(present) => unsafe { &mut *present }.count(stage, packets),
        None => counters::add(Counter::FlowInsertFailures),
    }
    0
}

#[inline(always)]
fn insert(key: &FlowKey4, stage: usize, packets: u32, outer_remote: Option<u32>) -> Class {
    // SAFETY: the helper has no preconditions.
    let random = unsafe { bpf_get_prandom_u32() };
    let mut value = FlowValue::new(random | 1);
    let class = add(&mut value, key, stage, packets, outer_remote);
    insert_value(key, &value, stage, packets);
    class
}

#[inline(always)]
fn classify(key: &FlowKey4, stage: usize) -> Class {
    let (local, remote) = if leaves(stage) {
        (key.source(), key.destination())
    } else {
        (key.destination(), key.source())
    };
    Class { slot: peers::slot_of(remote), local_pod: config::get().is_own_pod(local) }
}
