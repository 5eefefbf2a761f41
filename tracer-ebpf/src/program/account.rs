//! From a parsed packet to counters.

use tracer_common::{
    peer::{FRAGMENTS, REFUSED},
    stage::POD_OUT,
};
use tracer_ebpf::parse::{Inner, Packet};

use crate::{config, flows, packet::Skb, peers};

/// Counts an inner packet at a stage. `outer_remote` is the other tunnel end, where one is seen.
#[inline(always)]
pub(super) fn account<P: Packet>(
    skb: Skb,
    packet: &P,
    stage: usize,
    inner: &Inner,
    outer_remote: Option<u32>,
) {
    let segments = skb.segments(packet, inner);
    let bytes = skb.inner_bytes(inner);
    if inner.ipv4.later_fragment {
        return peers::count_slot(FRAGMENTS, stage, segments, bytes);
    }
    if stage == POD_OUT
        && (inner.expires() || skb.exceeds_mtu(packet, inner, config::get().overlay_mtu()))
    {
        return peers::count_slot(REFUSED, stage, segments, bytes);
    }
    let class = flows::count(skb, inner.key, stage, segments, outer_remote);
    peers::count(class, stage, segments, bytes, !inner.expires());
}
