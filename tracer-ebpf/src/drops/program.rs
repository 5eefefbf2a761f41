//! The two programs: the same count, with and without the packets' own headers.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tracer_common::{
    drop::{DropFlowKey, DropKey, DropTotal, Field},
    flow::FlowKey,
};
use tracer_ebpf::parse::{IPV4, IPV6};

use crate::{
    flows::{self, Counted},
    header,
    place::{self, Place},
    pods,
    structure::{self, Structure},
    totals,
};

/// Arguments of the tracepoint (include/trace/events/skb.h): the packet, the address that the call
/// returns to and, from Linux 5.17 on, the reason.
const SKB: usize = 0;
const LOCATION: usize = 1;
const REASON: usize = 2;

/// Counts by typed loads alone: by place.
#[btf_tracepoint(function = "kfree_skb")]
fn drop_places(context: BtfTracePointContext) -> i32 {
    let skb = packet(&context);
    match place::of(skb) {
        Place::Here(ifindex) => {
            let place = DropKey::new(context.arg(LOCATION), reason(&context), ifindex);
            totals::count_place(&place, skb.load(Field::SkbProtocol), 1);
        }
        Place::Elsewhere => totals::add(DropTotal::Elsewhere, 1),
        Place::Unknown => totals::add(DropTotal::Unplaced, 1),
    }
    0
}

/// Looks at the packet's own bytes too: counts segments, by place and by flow.
#[btf_tracepoint(function = "kfree_skb")]
fn drop_packets(context: BtfTracePointContext) -> i32 {
    let skb = packet(&context);
    let segments = header::segments(skb);
    let ifindex = match place::of(skb) {
        Place::Here(ifindex) => ifindex,
        // Until the packet's addresses tell otherwise.
        Place::Elsewhere => DropKey::POD,
        Place::Unknown => {
            totals::add(DropTotal::Unplaced, segments);
            return 0;
        }
    };
    let place = DropKey::new(context.arg(LOCATION), reason(&context), ifindex);
    match skb.load::<u16>(Field::SkbProtocol) {
        IPV4 => count::<u32>(skb, place, segments),
        IPV6 => count::<[u32; 4]>(skb, place, segments),
        _ if place.is_in_pod() => totals::add(DropTotal::Elsewhere, segments),
        other => totals::count_place(&place, other, segments),
    }
    0
}

/// Counts a packet of one IP version.
#[inline(always)]
fn count<A: Counted>(skb: Structure, place: DropKey, segments: u64) {
    let mut key = DropFlowKey::<A>::new(place, FlowKey::new(A::ZERO, A::ZERO, 0, 0));
    let is_read = header::describe(skb, &mut key);
    if place.is_in_pod() && !(is_read && pods::is_ours(skb, &key)) {
        return totals::add(DropTotal::Elsewhere, segments);
    }
    totals::count_place(&place, A::ETHERTYPE, segments);
    if is_read {
        flows::count(&key, segments as u32);
    }
}

#[inline(always)]
fn packet(context: &BtfTracePointContext) -> Structure {
    // SAFETY: the kernel's first argument of this tracepoint is a `struct sk_buff`.
    unsafe { Structure::new(context.arg(SKB)) }
}

/// The kernel's number of the reason; 0 before Linux 5.17, where the verifier would refuse to
/// look for one.
#[inline(always)]
fn reason(context: &BtfTracePointContext) -> u32 {
    if structure::layout().has_reason() { context.arg(REASON) } else { 0 }
}
