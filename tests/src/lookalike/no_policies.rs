//! The chains that stand ready for network policies on every node of k3s, without a policy.

use super::{LookAlike, PLAIN};
use crate::{netfilter, plan::Plan, script::Script};

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "ready-for-policies",
    summary: "k3s has a chain of kube-router for each pod, and there is no network policy",
    changes: ready,
    ..PLAIN
}];

fn ready(plan: &Plan) -> Vec<Script> {
    let of_family =
        |family| plan.nodes.iter().map(move |node| netfilter::ready_for_policies(node, family));
    plan.families().iter().copied().flat_map(of_family).collect()
}
