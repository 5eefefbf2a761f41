//! The bridge is down or gone: pods are cut off, and what comes for them leaves the uplink again.

use super::{Fault, PLAIN, Reach, Strikes, Subject};
use crate::{
    lan::up,
    node,
    plan::{Family, Node, Plan},
    script::Script,
};

const MODEL: Fault = Fault {
    name: "cni0-down",
    code: "cni0-down",
    summary: "the bridge is set down",
    subject: Subject::Bridge,
    reach: Reach::AllPeers,
    alone: true,
    strikes: Strikes::AllFamilies,
    // The node itself still uses the tunnel, so something comes back from it.
    there: &["unexplained-loss", "tunnel-one-way"],
    breaks: |plan, site| {
        let victim = &plan.nodes[site.victim];
        vec![Script::ip(&victim.namespace, [format!("link set {} down", victim.bridge)])]
    },
    heals: |plan, site| {
        let victim = &plan.nodes[site.victim];
        let lines = [up(&victim.bridge)].into_iter().chain(lost_addresses(plan, victim));
        vec![Script::ip(&victim.namespace, lines)]
    },
    ..PLAIN
};

pub(super) const FAULTS: [Fault; 2] = [
    MODEL,
    Fault {
        name: "cni0-down-deleted",
        subject: Subject::BridgeGone,
        summary: "the bridge is deleted; the pods' veths are left without a master",
        breaks: |plan, site| {
            let victim = &plan.nodes[site.victim];
            vec![Script::ip(&victim.namespace, [format!("link del {}", victim.bridge)])]
        },
        heals: |plan, site| {
            let victim = &plan.nodes[site.victim];
            let lines = [node::bridge(plan, victim), node::join_pods(victim)].concat();
            vec![Script::ip(&victim.namespace, lines)]
        },
        ..MODEL
    },
];

/// A bridge that was down has lost the addresses of IPv6.
fn lost_addresses(plan: &Plan, victim: &Node) -> Vec<String> {
    let lost = plan.families().iter().filter(|family| **family == Family::V6);
    lost.map(|family| node::bridge_address(victim, *family)).collect()
}
