//! A peer's neighbour entry carries the MAC of a third node, which hands the packets on.

use super::{Fault, PLAIN, Reach, Severity, pair, third};
use crate::{flannel, script::Script};

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "neigh-entry-wrong-peer",
    code: "neigh-entry-wrong-peer",
    summary: "the neighbour entry of a peer's overlay address has another peer's MAC",
    severity: Severity::Warning,
    // The node between masquerades what the victim sends: the peer does not know its answers.
    reach: Reach::FromOnePeer,
    nodes: 3,
    breaks: |plan, site| {
        let (victim, peer) = pair(plan, site);
        let line = third(plan, site).map(|third| {
            let mac = third.vtep_mac.of(site.family);
            flannel::neighbour_with(plan, peer, site.family, mac)
        });
        vec![Script::ip(&victim.namespace, line)]
    },
    heals: |plan, site| {
        let (victim, peer) = pair(plan, site);
        vec![Script::ip(&victim.namespace, [flannel::neighbour(plan, peer, site.family)])]
    },
    ..PLAIN
}];
