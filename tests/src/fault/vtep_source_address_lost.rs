//! The address that the overlay device sends from is gone: nothing leaves, and nobody finds the node.

use super::{Fault, PLAIN, Reach, Subject, forgotten, remembered};
use crate::{
    lan::{self, add_address, on_lan},
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
        let lines = [
            node::uplink_address(plan, victim, site.family),
            node::default_route(plan, victim, site.family),
        ];
        vec![Script::ip(&victim.namespace, lines)]
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
            let lines = [
                lose(plan, victim, &victim.ip, site.family),
                add_address(on_lan(plan, &lan::host(plan, OTHER), site.family), &victim.uplink),
                node::default_route(plan, victim, site.family),
            ];
            [vec![Script::ip(&victim.namespace, lines)], forgotten(plan, site)].concat()
        },
        heals: |plan, site| {
            let victim = &plan.nodes[site.victim];
            let lines = [
                lose(plan, victim, &lan::host(plan, OTHER), site.family),
                node::uplink_address(plan, victim, site.family),
                node::default_route(plan, victim, site.family),
            ];
            vec![Script::ip(&victim.namespace, lines)]
        },
        ..MODEL
    },
];

fn lose(plan: &Plan, node: &Node, ip: &Addresses, family: Family) -> String {
    format!("addr del {} dev {}", on_lan(plan, ip, family), node.uplink)
}
