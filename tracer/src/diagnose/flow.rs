//! After which stage a flow's packets were lost.

use crate::{
    evidence::{Flow, Stage, StagePair},
    topology::Topology,
};

/// How many packets must be missing before a flow's numbers mean something.
const ENOUGH: u64 = 3;

/// The last stage that saw the packets of `flow` that were lost on this node; `None` when none
/// were. Only flows to a peer's or to the own pods are compared: others take other ways.
#[must_use]
pub fn lost_after(topology: &Topology<'_>, flow: &Flow) -> Option<Stage> {
    pairs_of(topology, flow)
        .into_iter()
        .find(|pair| is_lossy(flow, *pair))
        .map(StagePair::last_seen)
}

fn pairs_of(topology: &Topology<'_>, flow: &Flow) -> Vec<StagePair> {
    if let Some(peer) = topology.peer_of(flow.destination) {
        return match peer.direct {
            Some(_) => Vec::new(),
            None => vec![StagePair::PodToOverlay, StagePair::OverlayToWire],
        };
    }
    if !topology.is_own(flow.destination) {
        return Vec::new();
    }
    let local = topology.tables.is_some_and(|tables| tables.is_local(flow.destination));
    if local {
        vec![StagePair::WireToOverlay]
    } else {
        vec![StagePair::WireToOverlay, StagePair::OverlayToPod]
    }
}

/// A flow born in the window is compared only where nothing at all arrived.
fn is_lossy(flow: &Flow, pair: StagePair) -> bool {
    let Some(next) = pair.next() else { return false };
    let (before, after) = (flow.packets.at(pair.last_seen()), flow.packets.at(next));
    before.saturating_sub(after) >= ENOUGH && (!flow.born_in_window || after == 0)
}
