//! The two programs: the same count, with and without the packets' own headers.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tracer_common::drop::{DropKey, DropKindKey, DropTotal, Field};

use crate::{
    header,
    place::{self, Place},
    structure::{self, Structure},
    totals,
};

/// Arguments of the tracepoint (include/trace/events/skb.h): the packet, the address that the call
/// returns to and, from Linux 5.17 on, the reason.
const SKB: usize = 0;
const LOCATION: usize = 1;
const REASON: usize = 2;

#[btf_tracepoint(function = "kfree_skb")]
fn drop_places(context: BtfTracePointContext) -> i32 {
    count::<false>(&context);
    0
}

#[btf_tracepoint(function = "kfree_skb")]
fn drop_packets(context: BtfTracePointContext) -> i32 {
    count::<true>(&context);
    0
}

/// Counts one call. With `READS` it looks at the packet's own bytes too.
#[inline(always)]
fn count<const READS: bool>(context: &BtfTracePointContext) {
    // SAFETY: the kernel's first argument of this tracepoint is a `struct sk_buff`.
    let skb = unsafe { Structure::new(context.arg(SKB)) };
    let segments = if READS { header::segments(skb) } else { 1 };
    let ifindex = match place::of(skb) {
        Place::Here(ifindex) => ifindex,
        Place::Elsewhere => return totals::add(DropTotal::Elsewhere, segments),
        Place::Unknown => return totals::add(DropTotal::Unplaced, segments),
    };
    let place = DropKey::new(context.arg(LOCATION), reason(context), ifindex);
    let bytes = u64::from(skb.load::<u32>(Field::SkbLength));
    totals::count_place(&place, segments, bytes);
    let mut kind = DropKindKey::new(place, skb.load(Field::SkbProtocol));
    if READS {
        header::describe(skb, &mut kind);
    }
    totals::count_kind(&kind, segments, bytes);
}

/// The kernel's number of the reason; 0 before Linux 5.17, where the verifier would refuse to
/// look for one.
#[inline(always)]
fn reason(context: &BtfTracePointContext) -> u32 {
    if structure::layout().has_reason() { context.arg(REASON) } else { 0 }
}
