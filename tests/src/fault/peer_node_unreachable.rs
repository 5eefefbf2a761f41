//! The switch carries nothing between two nodes: neither answers the other's ARP.

use super::{Fault, PLAIN, pair};
use crate::{
    lan, netns,
    plan::{Plan, Site},
    script::Script,
};

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "peer-node-unreachable-l2",
    code: "peer-node-unreachable-l2",
    summary: "the switch carries nothing between the node and a peer",
    there: &["peer-node-unreachable-l2"],
    ethernet_only: Some("a relay has no ports to isolate, and nobody asks by ARP"),
    breaks: |plan, site| {
        let (victim, peer) = pair(plan, site);
        let mut scripts = isolate(plan, site, "on");
        for (node, other) in [(victim, peer), (peer, victim)] {
            scripts.push(Script::ip(&node.namespace, [lan::forget(node, other)]));
        }
        scripts
    },
    heals: |plan, site| isolate(plan, site, "off"),
    ..PLAIN
}];

/// Isolated ports of a bridge reach all others but one another.
fn isolate(plan: &Plan, site: Site, state: &str) -> Vec<Script> {
    let (victim, peer) = pair(plan, site);
    let lines = [victim, peer].map(|node| format!("link set dev {} isolated {state}", node.name));
    vec![Script::bridge(netns::SWITCH, lines)]
}
