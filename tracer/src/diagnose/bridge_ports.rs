//! What a packet filter drops where pods are attached to the bridge, which no stage sees: packets to
//! pods have passed pod_in, and packets of pods never reach pod_out.
//!
//! What the bridge drops of packets to the node itself (ebtables' INPUT) is at the bridge and no more at
//! a port (net/bridge/br_input.c, br_pass_frame_up, 5.10 to 6.18): it looks like a drop behind
//! pod_out that the stages do not confirm, and is not told.

use std::net::IpAddr;

use super::{
    case::Case,
    dropped::{Dropper, Way, told, way},
};
use crate::{evidence::Drop, topology::Topology};

/// The pod of this node that sent a packet to a peer's, or was to have one of a peer's, when a filter
/// dropped it where the pod is attached.
pub(super) fn pod_of(case: &Case<'_>, drop: &Drop) -> Option<IpAddr> {
    if told(drop, Dropper::Firewall).is_none() && !is_by_hook(case, drop) {
        return None;
    }
    let (flow, device) = (drop.flow?, drop.interface.as_deref()?);
    let pod = match way(case, drop)? {
        Way::Out(_) if is_port(&case.topology, device) => flow.source,
        Way::In(_) if is_port(&case.topology, device) => flow.destination,
        _ => return None,
    };
    case.topology.is_own(pod).then_some(pod)
}

/// A drop of the bridge's first hook, which the kernel runs in the function that takes frames from ports:
/// before it had reasons, nothing tells more (`nf_hook_bridge_pre`, net/bridge/br_input.c, 5.10). That
/// function drops packets of hosts too where the port forwards nothing, as below a bridge that is down.
fn is_by_hook(case: &Case<'_>, drop: &Drop) -> bool {
    let is_function = drop.reason.is_none() && drop.symbol.as_deref() == Some("br_handle_frame");
    is_function && case.topology.bridge.is_some_and(|bridge| bridge.up)
}

/// Whether a packet was at a port of the bridge.
pub(super) fn is_at_port(case: &Case<'_>, drop: &Drop) -> bool {
    drop.interface.as_deref().is_some_and(|device| is_port(&case.topology, device))
}

/// Whether a device is a port of the bridge.
fn is_port(topology: &Topology<'_>, device: &str) -> bool {
    let Some((bridge, tables)) = topology.bridge.zip(topology.tables) else { return false };
    tables.links.iter().any(|link| link.name == device && link.master == Some(bridge.index))
}
