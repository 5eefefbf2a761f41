//! The address that the overlay device sends from is gone: nothing leaves, and nobody finds the node.

use std::net::Ipv4Addr;

use super::{Fault, PLAIN, Reach, Subject, forgotten, remembered};
use crate::{
    node,
    plan::{Node, Plan},
    script::Script,
};

const MODEL: Fault = Fault {
    name: "vtep-source-address-lost",
    code: "vtep-source-address-lost",
    summary: "the address that the overlay device sends from is deleted",
    subject: Subject::Overlay,
    reach: Reach::AllPeers,
    breaks: |plan, site| {
        let victim = &plan.nodes[site.victim];
        let line = at_uplink(plan, victim, "del", victim.ip);
        [vec![Script::ip(&victim.namespace, [line])], remembered(plan, site)].concat()
    },
    heals: |plan, site| {
        let victim = &plan.nodes[site.victim];
        let add = vec![at_uplink(plan, victim, "add", victim.ip)];
        vec![Script::ip(&victim.namespace, [add, node::routes(plan, victim)].concat())]
    },
    ..PLAIN
};

pub(super) const FAULTS: [Fault; 2] = [
    MODEL,
    Fault {
        name: "vtep-source-address-lost-replaced",
        summary: "the node gets another address than the overlay device sends from",
        // Once its entry in their ARP tables has failed, the others say that it does not answer.
        there: &["peer-node-unreachable-l2"],
        breaks: |plan, site| {
            let victim = &plan.nodes[site.victim];
            let lines = replaced(plan, victim, victim.ip, other(plan));
            [vec![Script::ip(&victim.namespace, lines)], forgotten(plan, site)].concat()
        },
        heals: |plan, site| {
            let victim = &plan.nodes[site.victim];
            let lines = replaced(plan, victim, other(plan), victim.ip);
            vec![Script::ip(&victim.namespace, lines)]
        },
        ..MODEL
    },
];

fn replaced(plan: &Plan, node: &Node, old: Ipv4Addr, new: Ipv4Addr) -> Vec<String> {
    let lines = vec![at_uplink(plan, node, "del", old), at_uplink(plan, node, "add", new)];
    [lines, node::routes(plan, node)].concat()
}

fn at_uplink(plan: &Plan, node: &Node, action: &str, ip: Ipv4Addr) -> String {
    format!("addr {action} {ip}/{} dev {}", plan.lan.node_prefix(), node.uplink)
}

/// An address of the LAN that no plan gives to anybody.
fn other(plan: &Plan) -> Ipv4Addr {
    let [a, b, c, _] = plan.lan.network.network().octets();
    Ipv4Addr::new(a, b, c, 7)
}
