//! A node that joined: its entries are younger than all others.

use super::{LookAlike, PLAIN};
use crate::{flannel, plan::Plan, script::Script};

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "node-joined",
    summary: "a node has just joined: its entries are younger than the others'",
    changes: join,
    ..PLAIN
}];

fn join(plan: &Plan) -> Vec<Script> {
    let victim = plan.victim();
    let others = || plan.others(plan.site.victim).into_iter().map(|other| &plan.nodes[other]);
    others()
        .flat_map(|other| flannel::forget(plan, other, victim))
        .chain(others().flat_map(|other| flannel::learn(plan, other, victim)))
        .collect()
}
