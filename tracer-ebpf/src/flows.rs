//! The flow tables, one for each IP version.

use aya_ebpf::{
    bindings::BPF_NOEXIST, helpers::bpf_get_prandom_u32, macros::map, maps::LruPerCpuHashMap,
};
use aya_log_ebpf::warn;
use tracer_common::{
    counter::Counter,
    flow::{Class, FLOWS, FlowKey, FlowValue},
    stage::leaves,
};

use crate::{config::Configured, counters, packet::Skb, peers};

type Table<A> = LruPerCpuHashMap<FlowKey<A>, FlowValue<A>>;

#[map]
static FLOWS4: Table<u32> = LruPerCpuHashMap::with_max_entries(FLOWS, 0);

#[map]
static FLOWS6: Table<[u32; 4]> = LruPerCpuHashMap::with_max_entries(FLOWS, 0);

/// An IP version whose flows are counted.
pub(crate) trait Counted: Configured + peers::Slotted {
    fn flows() -> &'static Table<Self>;
}

impl Counted for u32 {
    #[inline(always)]
    fn flows() -> &'static Table<Self> {
        &FLOWS4
    }
}

impl Counted for [u32; 4] {
    #[inline(always)]
    fn flows() -> &'static Table<Self> {
        &FLOWS6
    }
}

/// Counts a packet of a flow at a stage and says to whom the flow belongs.
#[inline(always)]
pub(crate) fn count<A: Counted>(
    skb: Skb,
    key: &FlowKey<A>,
    stage: usize,
    packets: u32,
    outer_remote: Option<A>,
) -> Class {
    match A::flows().get_ptr_mut(key) {
        // SAFETY: this CPU's value; tc programs run with bottom halves off, so nothing else on
        // this CPU touches it, and an evicted entry stays readable until this program ends (RCU).
        Some(value) => add(unsafe { &mut *value }, key, stage, packets, outer_remote),
        None => insert(skb, key, stage, packets, outer_remote),
    }
}

#[inline(always)]
fn add<A: Counted>(
    value: &mut FlowValue<A>,
    key: &FlowKey<A>,
    stage: usize,
    packets: u32,
    outer_remote: Option<A>,
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
fn insert<A: Counted>(
    skb: Skb,
    key: &FlowKey<A>,
    stage: usize,
    packets: u32,
    outer_remote: Option<A>,
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
fn put<A: Counted>(skb: Skb, key: &FlowKey<A>, value: &FlowValue<A>) {
    if A::flows().insert(key, value, u64::from(BPF_NOEXIST)).is_ok() {
        counters::add(Counter::FlowInserts);
        return;
    }
    if let Some(present) = A::flows().get_ptr_mut(key) {
        // Another CPU was faster: the entry exists, with zeros for this CPU.
        // SAFETY: as in `count`.
        unsafe { &mut *present }.absorb(value);
    } else if counters::add(Counter::FlowInsertFailures) == 0 {
        warn!(skb.context(), "the flow table refuses entries: flows are incomplete");
    }
}

#[inline(always)]
fn classify<A: Counted>(key: &FlowKey<A>, stage: usize) -> Class {
    let (local, remote) = if leaves(stage) {
        (key.source(), key.destination())
    } else {
        (key.destination(), key.source())
    };
    Class { slot: peers::slot_of(remote), local_pod: A::config().is_own_pod(local) }
}
