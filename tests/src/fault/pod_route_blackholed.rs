//! The route to a peer's pod CIDR throws packets away.

use super::{Fault, PLAIN, Reach, Subject, pair};
use crate::{
    flannel,
    plan::{Plan, Site},
    script::Script,
};

const MODEL: Fault = Fault {
    name: "pod-route-blackholed",
    code: "pod-route-blackholed",
    summary: "the route to a peer's pod CIDR is a blackhole",
    subject: Subject::Peer,
    reach: Reach::OnePeer,
    there: &["tunnel-one-way"],
    breaks: |plan, site| replace(plan, site, "blackhole"),
    heals: |plan, site| {
        let (victim, peer) = pair(plan, site);
        vec![Script::ip(&victim.namespace, [flannel::route(plan, peer, site.family)])]
    },
    ..PLAIN
};

pub(super) const FAULTS: [Fault; 3] = [
    MODEL,
    Fault {
        name: "pod-route-blackholed-unreachable",
        summary: "the route to a peer's pod CIDR answers `host unreachable`",
        breaks: |plan, site| replace(plan, site, "unreachable"),
        ..MODEL
    },
    Fault {
        name: "pod-route-blackholed-prohibit",
        summary: "the route to a peer's pod CIDR answers `prohibited`",
        breaks: |plan, site| replace(plan, site, "prohibit"),
        ..MODEL
    },
];

/// In place of flannel's route: the kernel refuses a second one of the same prefix and metric.
fn replace(plan: &Plan, site: Site, kind: &str) -> Vec<Script> {
    let (victim, peer) = pair(plan, site);
    let line = format!("route replace {kind} {}", peer.subnet.of(site.family));
    vec![Script::ip(&victim.namespace, [line])]
}
