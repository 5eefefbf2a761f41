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
/// What a peer counts in packets.
pub const PEER_COUNTS: usize = 9;

/// Whether packets at `stage` leave the node: then the destination is the remote end.
#[must_use]
pub const fn leaves(stage: usize) -> bool {
    matches!(stage, POD_OUT | OVERLAY_OUT | WIRE_OUT | LEAK)
}
