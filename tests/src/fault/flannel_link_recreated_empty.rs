//! The overlay device was deleted and created again: it is up with its address, and knows no peer.

use super::{Fault, PLAIN, Reach, Subject};
use crate::{flannel, script::Script};

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "flannel-link-recreated-empty",
    code: "flannel-link-recreated-empty",
    summary: "the overlay device is deleted and created again, and nothing is written into it",
    subject: Subject::Overlay,
    reach: Reach::AllPeers,
    breaks: |plan, site| {
        let victim = &plan.nodes[site.victim];
        let mut lines = vec![format!("link del {}", plan.overlay(site.family))];
        lines.extend(flannel::device(plan, victim, site.family));
        vec![Script::ip(&victim.namespace, lines)]
    },
    heals: |plan, site| flannel::peers(plan, &plan.nodes[site.victim], site.family),
    ..PLAIN
}];
