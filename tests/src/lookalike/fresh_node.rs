//! A node on which no pod runs: its bridge has never been made, or has lost its carrier.

use super::{LookAlike, PLAIN};
use crate::{plan::BridgeState, seed::Shape};

pub(super) const LOOK_ALIKES: [LookAlike; 2] = [
    LookAlike {
        name: "fresh-node",
        summary: "a node without pods and without bridge",
        shape: || of(BridgeState::Absent),
        ..PLAIN
    },
    LookAlike {
        name: "node-without-pods",
        summary: "a node whose pods are gone: its bridge is NO-CARRIER",
        shape: || of(BridgeState::Empty),
        ..PLAIN
    },
];

fn of(victim_bridge: BridgeState) -> Shape {
    Shape { min_nodes: 2, victim_bridge, ..Shape::default() }
}
