//! The switch carries nothing between two nodes: neither answers when the other asks for its MAC.

use super::{Fault, PLAIN, Strikes, pair};
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
    strikes: Strikes::AllFamilies,
    ethernet_only: Some("a relay has no ports to isolate, and nobody asks for a MAC"),
    breaks: |plan, site| {
        let (victim, peer) = pair(plan, site);
        let mut scripts = isolate(plan, site, "on");
        for (node, other) in [(victim, peer), (peer, victim)] {
            let lines = plan.families().iter().map(|family| lan::give_up(node, other, *family));
            scripts.push(Script::ip(&node.namespace, lines));
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
