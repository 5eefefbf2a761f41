//! A firewall of the node drops the tunnel's packets that come in: from one peer, by nftables or
//! iptables, or from all as early as it can.

use super::{Fault, PLAIN, Reach, Subject, filter::Chain, filter::iptables, pair};
use crate::plan::{Plan, Site};

/// What the peers hear of the victim.
const THERE: &[&str] = &["unexplained-loss", "tunnel-one-way"];

pub(super) const FAULTS: [Fault; 3] = [
    Fault {
        name: "fw-drops-vxlan-input",
        code: "fw-drops-vxlan-input",
        summary: "a firewall drops a peer's tunnel packets in the hook input",
        there: THERE,
        by_drops: true,
        breaks: |plan, site| Chain::inet("input").drops(plan, site, &from_peer(plan, site)),
        heals: |plan, site| Chain::inet("input").heals(plan, site),
        ..PLAIN
    },
    Fault {
        name: "fw-drops-vxlan-input-iptables",
        code: "fw-drops-vxlan-input",
        summary: "a rule of iptables drops a peer's tunnel packets in the chain INPUT",
        there: THERE,
        by_drops: true,
        breaks: |plan, site| iptables(plan, site, "-I", &in_input(plan, site)),
        heals: |plan, site| iptables(plan, site, "-D", &in_input(plan, site)),
        ..PLAIN
    },
    Fault {
        name: "fw-drops-vxlan-input-ingress",
        code: "fw-drops-vxlan-input",
        summary: "a firewall drops all peers' tunnel packets as they come in by the uplink",
        subject: Subject::Overlay,
        reach: Reach::AllPeers,
        there: THERE,
        // Of one peer alone it is told as that peer's.
        nodes: 3,
        by_drops: true,
        breaks: |plan, site| {
            let version = site.family.word();
            let of_tunnel = format!("meta protocol {version} udp dport {}", plan.port);
            ingress(plan, site).drops(plan, site, &of_tunnel)
        },
        heals: |plan, site| ingress(plan, site).heals(plan, site),
        ..PLAIN
    },
];

fn from_peer(plan: &Plan, site: Site) -> String {
    let (_, peer) = pair(plan, site);
    let version = site.family.word();
    format!("{version} saddr {} udp dport {}", peer.ip.of(site.family), plan.port)
}

fn in_input(plan: &Plan, site: Site) -> String {
    let (_, peer) = pair(plan, site);
    format!("INPUT -s {} -p udp --dport {}", peer.ip.of(site.family), plan.port)
}

fn ingress(plan: &Plan, site: Site) -> Chain {
    let uplink = &plan.nodes[site.victim].uplink;
    Chain { of: "netdev", hook: format!("ingress device {uplink} priority 0") }
}
