//! The route to a peer's pod CIDR is gone. With a default route nothing is dropped: pod packets
//! leave the uplink un-encapsulated.

use super::{Fault, PLAIN, Reach, Subject, pair};
use crate::{
    flannel, node,
    plan::{Plan, Site},
    script::Script,
};

const MODEL: Fault = Fault {
    name: "pod-route-missing",
    code: "pod-route-missing",
    summary: "the route to a peer's pod CIDR is deleted",
    subject: Subject::Peer,
    reach: Reach::OnePeer,
    there: &["tunnel-one-way"],
    breaks: |plan, site| vec![Script::ip(&plan.nodes[site.victim].namespace, [delete(plan, site)])],
    heals: |plan, site| {
        let (victim, peer) = pair(plan, site);
        vec![Script::ip(&victim.namespace, [flannel::route(plan, peer, site.family)])]
    },
    ..PLAIN
};

pub(super) const FAULTS: [Fault; 2] = [
    MODEL,
    Fault {
        name: "pod-route-missing-no-default",
        summary: "the route to a peer's pod CIDR is deleted, and the default route with it",
        breaks: |plan, site| {
            let lines = [delete(plan, site), node::no_default_route(site.family)];
            vec![Script::ip(&plan.nodes[site.victim].namespace, lines)]
        },
        heals: |plan, site| {
            let (victim, peer) = pair(plan, site);
            let lines = [
                flannel::route(plan, peer, site.family),
                node::default_route(plan, victim, site.family),
            ];
            vec![Script::ip(&victim.namespace, lines)]
        },
        ..MODEL
    },
];

fn delete(plan: &Plan, site: Site) -> String {
    let subnet = plan.nodes[site.peer].subnet.of(site.family);
    format!("route del {subnet} dev {}", plan.overlay(site.family))
}
