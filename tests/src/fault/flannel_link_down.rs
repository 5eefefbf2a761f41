//! The overlay device is down: address and FDB stay, routes and neighbours go, its port is closed.

use super::{Fault, PLAIN, Reach, Subject};
use crate::{flannel, lan::up, script::Script};

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "flannel-link-down",
    code: "flannel-link-down",
    summary: "the overlay device is set down",
    subject: Subject::Overlay,
    reach: Reach::AllPeers,
    alone: true,
    there: &["tunnel-one-way"],
    breaks: |plan, site| {
        let line = format!("link set {} down", plan.overlay());
        vec![Script::ip(&plan.nodes[site.victim].namespace, [line])]
    },
    heals: |plan, site| {
        let victim = &plan.nodes[site.victim];
        let mut scripts = vec![Script::ip(&victim.namespace, [up(&plan.overlay())])];
        scripts.extend(flannel::peers(plan, victim));
        scripts
    },
    ..PLAIN
}];
