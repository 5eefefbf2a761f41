//! The stages by which every counter is kept, as indices into its arrays.

/// Bridge ingress: from a local pod.
pub const POD_OUT: usize = 0;
/// Overlay device egress.
pub const OVERLAY_OUT: usize = 1;
/// Uplink egress, encapsulated.
pub const WIRE_OUT: usize = 2;
/// Uplink ingress, encapsulated.
pub const WIRE_IN: usize = 3;
/// Overlay device ingress.
pub const OVERLAY_IN: usize = 4;
/// Bridge egress: to a local pod.
pub const POD_IN: usize = 5;
/// Stages proper.
pub const STAGES: usize = 6;

/// Uplink egress of a packet for the pod network that is not encapsulated.
pub const LEAK: usize = 6;
/// What a flow counts: the stages and leaks.
pub const FLOW_COUNTS: usize = 7;

/// The part of [`OVERLAY_OUT`] that the node itself sent.
pub const HOST: usize = 7;
/// What has packets and bytes.
pub const SIZED_COUNTS: usize = 8;

/// The part of [`OVERLAY_IN`] whose destination is a pod of this node.
pub const TO_POD: usize = 8;
/// The part of [`WIRE_OUT`] that pods of this node sent in large packets, see [`large_at`].
pub const LARGE_OUT: usize = 9;
/// Large packets among [`WIRE_IN`], and all that come in fragments.
pub const LARGE_IN: usize = 10;
/// What a peer counts in packets.
pub const PEER_COUNTS: usize = 11;

/// Where large packets of a stage are counted too, and above how many bytes one is large.
///
/// They are bytes of the inner packet, or, where the kernel holds several as one, of the payload of each
/// (`gso_size`): in between lie 100 bytes of headers, IPv6's and TCP's with all options, or somewhat more.
/// So the least is lower where packets come in: whatever is large where it leaves is large there too.
#[inline(always)]
#[must_use]
pub const fn large_at(stage: usize) -> Option<(usize, u32)> {
    match stage {
        WIRE_OUT => Some((LARGE_OUT, LARGE)),
        WIRE_IN => Some((LARGE_IN, LARGE_IN_ABOVE)),
        _ => None,
    }
}

/// What every way must carry is not large: the least MTU of IPv6 (RFC 8200, section 5).
pub const LARGE: u32 = 1280;
/// Above how many bytes a packet that comes in is large.
pub const LARGE_IN_ABOVE: u32 = LARGE - 128;

/// Whether packets at `stage` leave the node: then the destination is the remote end.
#[must_use]
pub const fn leaves(stage: usize) -> bool {
    matches!(stage, POD_OUT | OVERLAY_OUT | WIRE_OUT | LEAK)
}
