//! What the drop programs are measured against: a bare count, and a bare count of 5-tuples.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::bpf_probe_read_kernel,
    macros::{btf_tracepoint, map},
    maps::{LruPerCpuHashMap, PerCpuArray},
    programs::BtfTracePointContext,
};
use tracer_common::drop::{DROP_FLOWS, Field};

use crate::structure::Structure;

/// Protocol in the third word of an IPv4 header, as it lies in memory.
const PROTOCOL: u32 = 0x00ff_0000_u32.to_be();

#[map]
static DROPS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

#[map]
static DROP_TUPLES: LruPerCpuHashMap<[u32; 4], u64> =
    LruPerCpuHashMap::with_max_entries(DROP_FLOWS, 0);

/// Counts.
#[btf_tracepoint(function = "kfree_skb")]
fn drop_bare(_context: BtfTracePointContext) -> i32 {
    if let Some(drops) = DROPS.get_ptr_mut(0) {
        // SAFETY: this CPU's value of an array, and the program cannot be moved to another CPU.
        unsafe { *drops += 1 };
    }
    0
}

/// Counts by an IPv4 5-tuple, wherever one seems to be: one copy, and one update in place.
#[btf_tracepoint(function = "kfree_skb")]
fn drop_tuple(context: BtfTracePointContext) -> i32 {
    // SAFETY: the kernel's first argument of this tracepoint is a `struct sk_buff`.
    let skb = unsafe { Structure::new(context.arg(0)) };
    let offset = u64::from(skb.load::<u16>(Field::SkbNetworkHeader));
    let header = skb.load::<u64>(Field::SkbHead).wrapping_add(offset) as *const [u32; 6];
    // SAFETY: the helper takes any address; every bit pattern is a value of integers.
    let Ok(words) = (unsafe { bpf_probe_read_kernel(header) }) else { return 0 };
    let key = [words[3], words[4], words[5], words[2] & PROTOCOL];
    match DROP_TUPLES.get_ptr_mut(key) {
        // SAFETY: this CPU's value.
        Some(drops) => unsafe { *drops += 1 },
        None => {
            let _ = DROP_TUPLES.insert(key, 1, u64::from(BPF_NOEXIST));
        }
    }
    0
}
