//! Packets worth a closer look: which program takes it, and what was seen.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    macros::map,
    maps::{PerCpuHashMap, ProgramArray},
};
use tracer_common::{
    counter::Counter,
    names,
    sight::{self, SightKey},
};

use crate::{counters, packet::Skb, samples};

/// Neither table ever evicts, so that what is in it is exact.
type Table = PerCpuHashMap<SightKey, u64>;

#[map]
static SIGHTS: Table = PerCpuHashMap::with_max_entries(sight::SIGHTS, 0);

#[map]
static POD_SIGHTS: Table = PerCpuHashMap::with_max_entries(sight::POD_SIGHTS, 0);

#[map]
static CLOSER: ProgramArray = ProgramArray::with_max_entries(names::LOOKS.len() as u32, 0);

/// Overwritten by userspace as [`crate::config`]'s: with 0 the verifier removes every call, for
/// kernels that take none from a program that has functions.
#[unsafe(no_mangle)]
static LOOKING: u32 = 0;

/// Whose doing a sight is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Of the tunnel's ends.
    Tunnel,
    /// Of pods, which could fill any table.
    Pods,
}

/// Goes on in the program of this number in [`names::LOOKS`], and does not come back. Where it
/// cannot, the packet is not looked at.
#[inline(always)]
pub(crate) fn look_closer(skb: Skb, number: u32) {
    // SAFETY: a reference is valid; volatile, because the loader replaces the value.
    if unsafe { core::ptr::read_volatile(&raw const LOOKING) } != 0 {
        // SAFETY: nothing here needs to be dropped.
        unsafe { CLOSER.tail_call(&skb.context(), number) };
    }
}

/// Counts packets of a sight that was had at a stage. Of the first a sample is taken.
#[inline(always)]
pub(crate) fn count(skb: Skb, stage: usize, whose: Whose, mut key: SightKey, packets: u32) {
    let before = match whose {
        Whose::Tunnel => count_in(&SIGHTS, &key, packets),
        Whose::Pods => count_in(&POD_SIGHTS, &key, packets),
    };
    match before {
        Some(before) => samples::sight(skb, stage, &mut key, before),
        None => {
            counters::add(Counter::OtherSights);
        }
    }
}

/// Says how many there were before on this CPU; `None` when there is no room.
#[inline(always)]
fn count_in(table: &Table, key: &SightKey, packets: u32) -> Option<u64> {
    let before = add_to(table, key, packets);
    if before.is_some() {
        return before;
    }
    // Another CPU may be faster: what counts is that the entry is there then.
    let _ = table.insert(key, 0, u64::from(BPF_NOEXIST));
    add_to(table, key, packets)
}

#[inline(always)]
fn add_to(table: &Table, key: &SightKey, packets: u32) -> Option<u64> {
    let value = table.get_ptr_mut(key)?;
    // SAFETY: this CPU's value; tc programs run with bottom halves off, so nothing else on this CPU
    // touches it, and a removed entry stays readable until this program ends (RCU).
    let value = unsafe { &mut *value };
    let before = *value;
    *value = before.wrapping_add(u64::from(packets));
    Some(before)
}
