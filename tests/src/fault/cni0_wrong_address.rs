//! The bridge has an address of another network: pods ask for their gateway in vain, and what
//! comes for them leaves the uplink again.

use super::{Fault, PLAIN, Reach, Subject, pair};
use crate::{
    plan::{Node, Plan, Site},
    script::Script,
};

/// Of the bridge plugin's own example. No plan draws it.
const EXAMPLE: &str = "10.22.0.1/16";

const MODEL: Fault = Fault {
    name: "cni0-wrong-address",
    code: "cni0-wrong-address",
    summary: "the bridge has an address of another network",
    subject: Subject::Bridge,
    reach: Reach::AllPeers,
    // The node itself still uses the tunnel, so something comes back from it.
    there: &["unexplained-loss", "tunnel-one-way"],
    breaks: |plan, site| give(&plan.nodes[site.victim], EXAMPLE),
    heals: |plan, site| give_back(&plan.nodes[site.victim], EXAMPLE),
    ..PLAIN
};

pub(super) const FAULTS: [Fault; 3] = [
    MODEL,
    Fault {
        name: "cni0-wrong-address-of-peer",
        summary: "the bridge has an address of a subnet that is now a peer's",
        breaks: |plan, site| give(&plan.nodes[site.victim], &of_peer(plan, site)),
        heals: |plan, site| give_back(&plan.nodes[site.victim], &of_peer(plan, site)),
        ..MODEL
    },
    Fault {
        name: "cni0-wrong-address-none",
        summary: "the bridge has lost its address",
        breaks: |plan, site| {
            let victim = &plan.nodes[site.victim];
            vec![Script::ip(&victim.namespace, [lose(victim)])]
        },
        heals: |plan, site| {
            let victim = &plan.nodes[site.victim];
            vec![Script::ip(&victim.namespace, [right(victim)])]
        },
        ..MODEL
    },
];

fn give(victim: &Node, wrong: &str) -> Vec<Script> {
    let lines = [lose(victim), format!("addr add {wrong} dev {}", victim.bridge)];
    vec![Script::ip(&victim.namespace, lines)]
}

fn give_back(victim: &Node, wrong: &str) -> Vec<Script> {
    let lines = [format!("addr del {wrong} dev {}", victim.bridge), right(victim)];
    vec![Script::ip(&victim.namespace, lines)]
}

fn lose(victim: &Node) -> String {
    format!("addr del {}/{} dev {}", victim.bridge_ip(), victim.subnet.prefix_len(), victim.bridge)
}

fn right(victim: &Node) -> String {
    let (ip, length, bridge) = (victim.bridge_ip(), victim.subnet.prefix_len(), &victim.bridge);
    format!("addr add {ip}/{length} brd + dev {bridge}")
}

/// A node alone has no peer that could have got its old subnet.
fn of_peer(plan: &Plan, site: Site) -> String {
    match pair(plan, site) {
        (victim, peer) if victim.subnet == peer.subnet => EXAMPLE.to_owned(),
        (_, peer) => format!("{}/{}", peer.bridge_ip(), peer.subnet.prefix_len()),
    }
}
