//! A firewall of the node drops what it forwards between its pods and others: what they send to a
//! peer's, what comes out of the tunnel for them, or all of it.

use super::{Fault, PLAIN, Reach, Subject, filter::Chain, filter::iptables, pair};
use crate::plan::{Plan, Site};

/// The node itself still uses the tunnel, so something comes back from it.
const THERE: &[&str] = &["unexplained-loss", "tunnel-one-way"];

pub(super) const FAULTS: [Fault; 3] = [
    Fault {
        name: "fw-drops-forwarded-pod-traffic",
        code: "fw-drops-forwarded-pod-traffic",
        summary: "a firewall drops what pods send to a peer's pods in the hook forward",
        there: THERE,
        by_drops: true,
        breaks: |plan, site| {
            let (victim, peer) = pair(plan, site);
            let (version, to) = (site.family.word(), peer.subnet.of(site.family));
            let matches = format!("iifname {} {version} daddr {to}", victim.bridge);
            Chain::inet("forward").drops(plan, site, &matches)
        },
        heals: |plan, site| Chain::inet("forward").heals(plan, site),
        ..PLAIN
    },
    Fault {
        name: "fw-drops-forwarded-pod-traffic-iptables",
        code: "fw-drops-forwarded-pod-traffic",
        summary: "a rule of iptables drops what comes from a peer's pods in the chain FORWARD",
        there: THERE,
        by_drops: true,
        breaks: |plan, site| iptables(plan, site, "-I", &from_peer(plan, site)),
        heals: |plan, site| iptables(plan, site, "-D", &from_peer(plan, site)),
        ..PLAIN
    },
    Fault {
        name: "fw-drops-forwarded-pod-traffic-all",
        code: "fw-drops-forwarded-pod-traffic",
        summary: "a firewall forwards nothing between pods here and elsewhere",
        subject: Subject::Overlay,
        reach: Reach::AllPeers,
        there: THERE,
        // Of one peer alone it is told as that peer's.
        nodes: 3,
        by_drops: true,
        breaks: |plan, site| {
            let (version, cluster) = (site.family.word(), plan.cluster.of(site.family));
            let matches = format!("{version} saddr {cluster} {version} daddr {cluster}");
            Chain::inet("forward").drops(plan, site, &matches)
        },
        heals: |plan, site| Chain::inet("forward").heals(plan, site),
        ..PLAIN
    },
];

fn from_peer(plan: &Plan, site: Site) -> String {
    let (victim, peer) = pair(plan, site);
    format!("FORWARD -s {} -o {}", peer.subnet.of(site.family), victim.bridge)
}
