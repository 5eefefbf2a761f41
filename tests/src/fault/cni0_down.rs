//! The bridge is down or gone: pods are cut off, and what comes for them leaves the uplink again.

use super::{Fault, PLAIN, Reach, Subject};
use crate::{lan::up, node, script::Script};

const MODEL: Fault = Fault {
    name: "cni0-down",
    code: "cni0-down",
    summary: "the bridge is set down",
    subject: Subject::Bridge,
    reach: Reach::AllPeers,
    alone: true,
    // The node itself still uses the tunnel, so something comes back from it.
    there: &["unexplained-loss", "tunnel-one-way"],
    breaks: |plan, site| {
        let victim = &plan.nodes[site.victim];
        vec![Script::ip(&victim.namespace, [format!("link set {} down", victim.bridge)])]
    },
    heals: |plan, site| {
        let victim = &plan.nodes[site.victim];
        vec![Script::ip(&victim.namespace, [up(&victim.bridge)])]
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
