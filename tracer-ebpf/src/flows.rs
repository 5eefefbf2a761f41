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

const LOCAL_POD: u32 = 1 << 31;

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

/// Counts a packet of a flow at a stage and says to whom the flow belongs. `outer_remote` is the
/// other tunnel end, or the unspecified address where none is seen.
#[inline(always)]
pub(crate) fn count<A: Counted, const STAGE: usize>(
    skb: Skb,
    key: &FlowKey<A>,
    packets: u32,
    outer_remote: A,
) -> Class {
    match A::flows().get_ptr_mut(key) {
        // SAFETY: this CPU's value; tc programs run with bottom halves off, so nothing else on
        // this CPU touches it, and an evicted entry stays readable until this program ends (RCU).
        Some(value) => add::<A, STAGE>(unsafe { &mut *value }, key, packets, outer_remote),
        None => insert::<A, STAGE>(skb, key, packets, outer_remote),
    }
}

#[inline(always)]
fn add<A: Counted, const STAGE: usize>(
    value: &mut FlowValue<A>,
    key: &FlowKey<A>,
    packets: u32,
    outer_remote: A,
) -> Class {
    value.count(STAGE, packets);
    if outer_remote != A::ZERO {
        value.set_outer_remote(outer_remote);
    }
    if let Some(class) = value.class(STAGE) {
        return class;
    }
    let class = classify::<A, STAGE>(key);
    value.set_class(STAGE, class);
    class
}

#[inline(always)]
fn insert<A: Counted, const STAGE: usize>(
    skb: Skb,
    key: &FlowKey<A>,
    packets: u32,
    outer_remote: A,
) -> Class {
    // SAFETY: the helper has no preconditions.
    let random = unsafe { bpf_get_prandom_u32() };
    let mut value = FlowValue::new(random | 1);
    let class = add::<A, STAGE>(&mut value, key, packets, outer_remote);
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
fn classify<A: Counted, const STAGE: usize>(key: &FlowKey<A>) -> Class {
    if leaves(STAGE) {
        unpack(class_of(&key.source(), &key.destination()))
    } else {
        unpack(class_of(&key.destination(), &key.source()))
    }
}

/// A call of its own, because it is long and rare: once a flow and CPU.
#[inline(never)]
fn class_of<A: Counted>(local: &A, remote: &A) -> u32 {
    pack(Class { slot: peers::slot_of(*remote), local_pod: A::config().is_own_pod(*local) })
}

/// A class as a call returns it: a number.
#[inline(always)]
fn pack(class: Class) -> u32 {
    class.slot | if class.local_pod { LOCAL_POD } else { 0 }
}

#[inline(always)]
fn unpack(packed: u32) -> Class {
    Class { slot: packed & !LOCAL_POD, local_pod: packed & LOCAL_POD != 0 }
}
