//! The bridge has an address of another network: pods ask for their gateway in vain, and what
//! comes for them leaves the uplink again.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Fault, PLAIN, Reach, Subject, pair};
use crate::{
    lan::add_address,
    node,
    plan::{Both, Family, Networks, Node, Plan, Site},
    script::Script,
};

/// That of IPv4 is of the bridge plugin's own example. No plan draws them.
const EXAMPLE: Networks = Both {
    v4: Ipv4Net::new_assert(Ipv4Addr::new(10, 22, 0, 1), 16),
    v6: Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 2, 0, 22, 0, 0, 0, 1), 64),
};

const MODEL: Fault = Fault {
    name: "cni0-wrong-address",
    code: "cni0-wrong-address",
    summary: "the bridge has an address of another network",
    subject: Subject::Bridge,
    reach: Reach::AllPeers,
    // The node itself still uses the tunnel, so something comes back from it.
    there: &["unexplained-loss", "tunnel-one-way"],
    breaks: |plan, site| give(&plan.nodes[site.victim], EXAMPLE.of(site.family)),
    heals: |plan, site| give_back(&plan.nodes[site.victim], EXAMPLE.of(site.family)),
    ..PLAIN
};

pub(super) const FAULTS: [Fault; 3] = [
    MODEL,
    Fault {
        name: "cni0-wrong-address-of-peer",
        summary: "the bridge has an address of a subnet that is now a peer's",
        breaks: |plan, site| give(&plan.nodes[site.victim], of_peer(plan, site)),
        heals: |plan, site| give_back(&plan.nodes[site.victim], of_peer(plan, site)),
        ..MODEL
    },
    Fault {
        name: "cni0-wrong-address-none",
        summary: "the bridge has lost its address",
        breaks: |plan, site| {
            let victim = &plan.nodes[site.victim];
            vec![Script::ip(&victim.namespace, [lose(victim, site.family)])]
        },
        heals: |plan, site| {
            let victim = &plan.nodes[site.victim];
            vec![Script::ip(&victim.namespace, [node::bridge_address(victim, site.family)])]
        },
        ..MODEL
    },
];

fn give(victim: &Node, wrong: IpNet) -> Vec<Script> {
    let lines = [lose(victim, wrong.addr().into()), add_address(wrong, &victim.bridge)];
    vec![Script::ip(&victim.namespace, lines)]
}

fn give_back(victim: &Node, wrong: IpNet) -> Vec<Script> {
    let right = node::bridge_address(victim, wrong.addr().into());
    let lines = [format!("addr del {wrong} dev {}", victim.bridge), right];
    vec![Script::ip(&victim.namespace, lines)]
}

fn lose(victim: &Node, family: Family) -> String {
    format!("addr del {} dev {}", victim.end(family).bridge_address(), victim.bridge)
}

/// A node alone has no peer that could have got its old subnet.
fn of_peer(plan: &Plan, site: Site) -> IpNet {
    match pair(plan, site) {
        (victim, peer) if victim.name == peer.name => EXAMPLE.of(site.family),
        (_, peer) => peer.end(site.family).bridge_address(),
    }
}
