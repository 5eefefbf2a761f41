//! A peer's overlay address has no neighbour entry: the kernel asks for it inside the tunnel, which
//! nobody can answer.

use super::{Fault, PLAIN, Reach, Subject, pair};
use crate::{
    flannel,
    plan::{Plan, Site},
    script::Script,
};

const MODEL: Fault = Fault {
    name: "neigh-entry-missing",
    code: "neigh-entry-missing",
    summary: "the neighbour entry of a peer's overlay address is deleted",
    subject: Subject::Peer,
    reach: Reach::OnePeer,
    there: &["tunnel-one-way"],
    breaks: |plan, site| at_entry(plan, site, "del", ""),
    heals: |plan, site| {
        let (victim, peer) = pair(plan, site);
        vec![Script::ip(&victim.namespace, [flannel::neighbour(plan, peer, site.family)])]
    },
    ..PLAIN
};

pub(super) const FAULTS: [Fault; 2] = [
    MODEL,
    Fault {
        name: "neigh-entry-missing-failed",
        summary: "the neighbour entry of a peer's overlay address is FAILED",
        breaks: |plan, site| at_entry(plan, site, "replace", "nud failed"),
        ..MODEL
    },
];

fn at_entry(plan: &Plan, site: Site, action: &str, state: &str) -> Vec<Script> {
    let (victim, peer) = pair(plan, site);
    let (ip, overlay) = (peer.end(site.family).flannel_ip(), plan.overlay(site.family));
    let line = format!("neigh {action} {ip} dev {overlay} {state}");
    vec![Script::ip(&victim.namespace, [line])]
}
