//! From a parsed packet to counters.

use tracer_common::{
    peer::{FIRST_PEER, FRAGMENTS, REFUSED},
    stage::{POD_OUT, WIRE_IN},
};
use tracer_ebpf::parse::{Inner, Packet};

use crate::{
    flows::{self, Counted},
    packet::Skb,
    peers::{self, Seen},
    samples,
};

/// What an outer header tells of the other tunnel end, in words as they lie in memory.
#[derive(Clone, Copy)]
pub(super) struct TunnelEnd<A> {
    /// Its node address.
    pub(super) address: A,
    /// Its VTEP MAC where the packet comes from it, else zeros.
    pub(super) mac: (u16, u32),
    /// Whether the packet comes from it in an Ethernet frame.
    pub(super) is_framed: bool,
    /// Whether it may be the first fragment of what comes from it: the size of the whole is unknown then.
    pub(super) is_cut: bool,
}

/// Counts an inner packet at a stage. `remote` is the other tunnel end, where one is seen.
#[inline(always)]
pub(super) fn account<A: Counted, P: Packet, const STAGE: usize>(
    skb: Skb,
    packet: &P,
    inner: &Inner<A>,
    remote: Option<TunnelEnd<A>>,
) {
    // Only a device that receives joins datagrams.
    let segments = skb.segments(packet, inner, STAGE == WIRE_IN);
    let bytes = skb.inner_bytes(inner);
    if !samples::pass(STAGE, segments) {
        return;
    }
    if inner.ip.later_fragment {
        return peers::count_slot(FRAGMENTS, STAGE, segments, bytes);
    }
    if STAGE == POD_OUT && is_refused(skb, packet, inner) {
        return peers::count_slot(REFUSED, STAGE, segments, bytes);
    }
    let address = remote.map_or(A::ZERO, |end| end.address);
    let class = flows::count::<A, STAGE>(skb, &inner.key, segments, address);
    let seen = Seen {
        packets: segments,
        bytes,
        largest: if remote.is_some_and(|end| end.is_cut) { u32::MAX } else { skb.largest(bytes) },
        forwardable: !inner.expires(),
        mac: remote.map_or((0, 0), |end| end.mac),
        frame: remote.filter(|end| end.is_framed).map(|_| skb),
    };
    peers::count(class, STAGE, seen);
}

/// Whether the node will answer a pod's packet to a peer by ICMP instead of sending it on.
#[inline(always)]
fn is_refused<A: Counted, P: Packet>(skb: Skb, packet: &P, inner: &Inner<A>) -> bool {
    let refusable = inner.expires() || skb.exceeds_mtu(packet, inner, A::config().overlay_mtu());
    refusable && peers::slot_of(inner.key.destination()) >= FIRST_PEER
}
