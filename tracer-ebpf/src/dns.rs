//! Queries that wait for their answers, what became of those that do not, and the way to the
//! programs that pair them.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_NOEXIST},
    helpers::bpf_ktime_get_ns,
    macros::map,
    maps::{Array, PerCpuHashMap, ProgramArray},
};
use tracer_common::{
    counter::Counter,
    dns::{COUNTS, DnsCount, DnsKey, DnsSlot, Ledger, Message, SLOTS},
    names,
};

use crate::{config::CONFIG, counters, packet::Skb};

/// Shared by all processors, because the answer seldom comes where the query went. Two that write
/// to one slot at a time lose one of both queries: the sums show it. Userspace reads it as memory.
#[map]
static DNS_SLOTS: Array<DnsSlot> = Array::with_max_entries(SLOTS, BPF_F_MMAPABLE);

/// It never evicts, so that what is in it is exact.
#[map]
static DNS_COUNTS: PerCpuHashMap<DnsKey, DnsCount> = PerCpuHashMap::with_max_entries(COUNTS, 0);

#[map]
static DNS_PAIRS: ProgramArray = ProgramArray::with_max_entries(names::PAIRS.len() as u32, 0);

/// The maps, and the clock.
struct Book;

/// Goes on in the program of this number in [`names::PAIRS`], and does not come back. Where it
/// cannot, the message is not paired.
#[inline(always)]
pub(crate) fn pair_in(skb: Skb, number: u32) {
    if CONFIG.dns_timeout() != 0 {
        // SAFETY: nothing here needs to be dropped.
        unsafe { DNS_PAIRS.tail_call(&skb.context(), number) };
    }
}

/// Takes a message at a stage into account. A call of its own: a program would hold a copy for each
/// IP version, and each with room on the stack, which is short.
#[inline(never)]
pub(crate) fn pair<const STAGE: usize>(message: &Message, may_be_first: bool) {
    let Some(slot) = DNS_SLOTS.get_ptr_mut(message.slot()) else { return };
    // SAFETY: the entries of an array are never freed. Another processor may write to it at the
    // same time; every bit pattern is a slot.
    let slot = unsafe { &mut *slot };
    if message.is_answer() {
        slot.answer(message, STAGE, &Book);
    } else {
        slot.query(message, STAGE, may_be_first, &Book);
    }
}

impl Ledger for Book {
    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn timeout(&self) -> u64 {
        CONFIG.dns_timeout()
    }

    #[inline(always)]
    fn count(&self, key: &DnsKey, nanoseconds: u64) {
        count(key, nanoseconds);
    }
}

/// A call of its own: a message may be counted in several ways.
#[inline(never)]
fn count(key: &DnsKey, nanoseconds: u64) {
    if add_to(key, nanoseconds) {
        return;
    }
    // Another CPU may be faster: what counts is that the entry is there then.
    let _ = DNS_COUNTS.insert(key, DnsCount::default(), u64::from(BPF_NOEXIST));
    if !add_to(key, nanoseconds) {
        counters::add(Counter::OtherDns);
        add_to(&key.of_others(), nanoseconds);
    }
}

#[inline(always)]
fn add_to(key: &DnsKey, nanoseconds: u64) -> bool {
    let Some(value) = DNS_COUNTS.get_ptr_mut(key) else { return false };
    // SAFETY: this CPU's value; tc programs run with bottom halves off, so nothing else on this CPU
    // touches it, and a removed entry stays readable until this program ends (RCU).
    let value = unsafe { &mut *value };
    value.times += 1;
    value.nanoseconds += nanoseconds;
    true
}
