//! The overlay device has another VNI than those of the others: everybody sends, and nobody takes
//! what comes.

use super::{Fault, PLAIN, Reach, Subject};
use crate::{
    flannel,
    plan::{Plan, Site},
    script::Script,
};

/// A VNI that no plan draws.
const OTHER: u32 = 77_777;

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "vni-mismatch",
    code: "vni-mismatch",
    summary: "the overlay device is of another VNI than those of the other nodes",
    subject: Subject::Overlay,
    reach: Reach::AllPeers,
    there: &["vni-mismatch"],
    // Of two nodes none is the odd one.
    nodes: 3,
    breaks: |plan, site| {
        let own = format!(" id {} ", plan.vni);
        remade(plan, site, |line| line.replace(&own, &format!(" id {OTHER} ")))
    },
    heals: |plan, site| remade(plan, site, |line| line),
    ..PLAIN
}];

/// The overlay device anew, with another line that makes it.
fn remade(plan: &Plan, site: Site, change: impl Fn(String) -> String) -> Vec<Script> {
    flannel::remade(plan, &plan.nodes[site.victim], site.family, change)
}
