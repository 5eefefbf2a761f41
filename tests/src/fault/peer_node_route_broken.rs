//! The kernel has no way to the node of a peer: tunnel packets end where they would leave.

use super::{Fault, PLAIN, pair};
use crate::{
    plan::{Family, Plan, Site},
    script::Script,
};

const MODEL: Fault = Fault {
    name: "peer-node-route-broken",
    code: "peer-node-route-broken",
    summary: "a blackhole route covers the node of a peer",
    ethernet_only: Some("a VPN has the routes to nodes in a table that is asked before main"),
    breaks: |plan, site| on_victim(plan, site, "add blackhole", ""),
    heals: |plan, site| on_victim(plan, site, "del blackhole", ""),
    ..PLAIN
};

pub(super) const FAULTS: [Fault; 3] = [
    MODEL,
    Fault {
        name: "peer-node-route-broken-prohibit",
        summary: "a route answers `prohibited` for the node of a peer",
        breaks: |plan, site| on_victim(plan, site, "add prohibit", ""),
        heals: |plan, site| on_victim(plan, site, "del prohibit", ""),
        ..MODEL
    },
    Fault {
        name: "peer-node-route-broken-loop",
        summary: "the route to the node of a peer leads into the tunnel itself",
        breaks: |plan, site| on_victim(plan, site, "add", &into_tunnel(plan, site)),
        heals: |plan, site| on_victim(plan, site, "del", &into_tunnel(plan, site)),
        ..MODEL
    },
];

/// Changes the victim's route to the peer's node alone.
fn on_victim(plan: &Plan, site: Site, change: &str, to: &str) -> Vec<Script> {
    let (victim, peer) = pair(plan, site);
    let length = if site.family == Family::V4 { 32 } else { 128 };
    let line = format!("route {change} {}/{length}{to}", peer.ip.of(site.family));
    vec![Script::ip(&victim.namespace, [line])]
}

fn into_tunnel(plan: &Plan, site: Site) -> String {
    format!(" dev {}", plan.overlay(site.family))
}
