//! The flow table.

use aya_ebpf::{
    bindings::BPF_NOEXIST, helpers::bpf_get_prandom_u32, macros::map, maps::LruPerCpuHashMap,
};
use aya_log_ebpf::warn;
use tracer_common::{
    counter::Counter,
    flow::{Class, FLOWS, FlowKey4, FlowValue},
    stage::leaves,
};

use crate::{config, counters, packet::Skb, peers};

#[map]
static FLOWS4: LruPerCpuHashMap<FlowKey4, FlowValue> = LruPerCpuHashMap::with_max_entries(FLOWS, 0);

/// Counts a packet of a flow at a stage and says to whom the flow belongs.
#[inline(always)]
pub(crate) fn count(
    skb: Skb,
    key: FlowKey4,
    stage: usize,
    packets: u32,
    outer_remote: Option<u32>,
) -> Class {
    match FLOWS4.get_ptr_mut(key) {
        // SAFETY: this CPU's value; tc programs run with bottom halves off, so nothing else on
        // this CPU touches it, and an evicted entry stays readable until this program ends (RCU).
        Some(value) => add(unsafe { &mut *value }, &key, stage, packets, outer_remote),
        None => insert(skb, &key, stage, packets, outer_remote),
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

#[inline(always)]
fn insert(
    skb: Skb,
    key: &FlowKey4,
    stage: usize,
    packets: u32,
    outer_remote: Option<u32>,
) -> Class {
    // SAFETY: the helper has no preconditions.
    let random = unsafe { bpf_get_prandom_u32() };
    let mut value = FlowValue::new(random | 1);
    let class = add(&mut value, key, stage, packets, outer_remote);
    put(skb, key, &value);
    class
}

/// A call of its own: it is rare, and every program would hold a copy. It is not told the stage:
/// to a process without CAP_PERFMON the verifier refuses one offset into a map that is another
/// number on another path.
#[inline(never)]
fn put(skb: Skb, key: &FlowKey4, value: &FlowValue) {
    if FLOWS4.insert(key, value, u64::from(BPF_NOEXIST)).is_ok() {
        counters::add(Counter::FlowInserts);
        return;
    }
    if let Some(present) = FLOWS4.get_ptr_mut(key) {
        // Another CPU was faster: the entry exists, with zeros for this CPU.
        // SAFETY: as in `count`.
        unsafe { &mut *present }.absorb(value);
    } else if counters::add(Counter::FlowInsertFailures) == 0 {
        warn!(skb.context(), "the flow table refuses entries: flows are incomplete");
    }
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
