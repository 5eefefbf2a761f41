//! The address that the overlay device sends from is gone: nothing leaves, and nobody finds the node.

use super::{Fault, PLAIN, Reach, Subject, given_up, remembered};
use crate::{
    lan::{self, add_address, on_uplink},
    node,
    plan::{Addresses, Family, Node, Plan},
    script::Script,
};

/// The last part of an address of the LAN that no plan gives to anybody.
const OTHER: u8 = 7;

const MODEL: Fault = Fault {
    name: "vtep-source-address-lost",
    code: "vtep-source-address-lost",
    summary: "the address that the overlay device sends from is deleted",
    subject: Subject::Overlay,
    reach: Reach::AllPeers,
    breaks: |plan, site| {
        let victim = &plan.nodes[site.victim];
        let line = lose(plan, victim, &victim.ip, site.family);
        [vec![Script::ip(&victim.namespace, [line])], remembered(plan, site)].concat()
    },
    heals: |plan, site| {
        let victim = &plan.nodes[site.victim];
        let add = node::uplink_address(plan, victim, site.family);
        let routes = node::routes(plan, victim, site.family);
        vec![Script::ip(&victim.namespace, [add].into_iter().chain(routes))]
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
            let lines = replaced(plan, victim, [&victim.ip, &other(plan)], site.family);
            [vec![Script::ip(&victim.namespace, lines)], given_up(plan, site, &[site.family])]
                .concat()
        },
        heals: |plan, site| {
            let victim = &plan.nodes[site.victim];
            let lines = replaced(plan, victim, [&other(plan), &victim.ip], site.family);
            vec![Script::ip(&victim.namespace, lines)]
        },
        ..MODEL
    },
];

/// Takes one address from the uplink and gives it another.
fn replaced(plan: &Plan, node: &Node, [old, new]: [&Addresses; 2], family: Family) -> Vec<String> {
    let mut lines = vec![lose(plan, node, old, family), get(plan, node, new, family)];
    lines.extend(node::routes(plan, node, family));
    lines
}

fn lose(plan: &Plan, node: &Node, ip: &Addresses, family: Family) -> String {
    format!("addr del {} dev {}", on_uplink(plan, ip, family), node.uplink)
}

fn get(plan: &Plan, node: &Node, ip: &Addresses, family: Family) -> String {
    add_address(on_uplink(plan, ip, family), &node.uplink)
}

fn other(plan: &Plan) -> Addresses {
    lan::host(plan, OTHER)
}
