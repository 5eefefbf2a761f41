//! A firewall of the node rejects what its pods send to a peer's.

use super::{Fault, PLAIN, pair};
use crate::{
    plan::{Plan, Site},
    script::{Script, Tool},
};

const TABLE: &str = "inet fltr_reject";

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "fw-rejects-forwarded-pod-traffic",
    code: "fw-rejects-forwarded-pod-traffic",
    summary: "a firewall rejects pods' packets to a peer's pods in the hook forward",
    // The node itself still uses the tunnel, so something comes back from it.
    there: &["unexplained-loss", "tunnel-one-way"],
    breaks: |plan, site| {
        let (victim, peer) = pair(plan, site);
        let ip = site.family.word();
        let subnet = peer.subnet.of(site.family);
        let lines = [
            format!("add table {TABLE}"),
            format!("add chain {TABLE} here {{ type filter hook forward priority -10; }}"),
            format!(
                "add rule {TABLE} here iifname {} {ip} daddr {subnet} reject with icmpx type \
                 admin-prohibited",
                victim.bridge
            ),
        ];
        vec![nft(plan, site, lines.to_vec())]
    },
    heals: |plan, site| vec![nft(plan, site, vec![format!("delete table {TABLE}")])],
    ..PLAIN
}];

fn nft(plan: &Plan, site: Site, lines: Vec<String>) -> Script {
    Script::new(Tool::Nft, Some(&plan.nodes[site.victim].namespace), lines)
}
