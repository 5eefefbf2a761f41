//! A node that left cleanly: flannel has removed its three entries everywhere.

use super::{LookAlike, PLAIN, steady};
use crate::{
    flannel,
    plan::{ECHO_PORT, Family, Plan},
    script::Script,
    traffic::{Flow, Sender},
};

const MODEL: LookAlike = LookAlike {
    name: "node-left",
    summary: "a node was removed: the others hold nothing for it any more",
    changes: leave,
    members: |plan| plan.others(plan.site.victim),
    ..PLAIN
};

pub(super) const LOOK_ALIKES: [LookAlike; 2] = [
    MODEL,
    LookAlike {
        name: "removed-peer-still-called",
        summary: "a node was removed, and clients keep calling its pods",
        traffic: call_the_removed,
        infos: &["leak-to-unassigned-cidr"],
        ..MODEL
    },
];

/// The machine is switched off as well.
fn leave(plan: &Plan) -> Vec<Script> {
    let victim = plan.victim();
    let mut scripts: Vec<Script> = plan
        .others(plan.site.victim)
        .into_iter()
        .flat_map(|other| flannel::forget(plan, &plan.nodes[other], victim))
        .collect();
    scripts.push(Script::ip(&victim.namespace, [format!("link set {} down", victim.uplink)]));
    scripts
}

fn call_the_removed(plan: &Plan) -> Vec<Sender> {
    let Some(removed) = plan.victim().first_pod() else { return Vec::new() };
    let echo = removed.at(Family::V4, ECHO_PORT);
    plan.others(plan.site.victim)
        .into_iter()
        .filter_map(|node| plan.nodes[node].first_pod())
        .flat_map(|pod| {
            [Flow::UdpEcho { to: echo }, Flow::TcpExchange { to: echo }]
                .map(|flow| steady(&pod.namespace, flow, 5.0))
        })
        .collect()
}
