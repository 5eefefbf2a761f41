//! FDB entries that no neighbour refers to: a peer changed its MAC once, and flannel never removes
//! the old entry.

use std::net::Ipv4Addr;

use super::{LookAlike, PLAIN, single_node};
use crate::{
    lan,
    plan::{Family, Plan},
    script::Script,
};

/// Last parts of addresses of the LAN that no plan gives to anybody.
const UNUSED: [u8; 2] = [5, 6];

pub(super) const LOOK_ALIKES: [LookAlike; 2] = [
    LookAlike {
        name: "stale-fdb",
        summary: "old FDB entries of peers that changed their MACs",
        changes: |plan| {
            plan.nodes
                .iter()
                .map(|node| {
                    let peers = node.peer_order.iter().map(|peer| (*peer, plan.nodes[*peer].ip.v4));
                    stale(plan, &node.namespace, peers)
                })
                .collect()
        },
        ..PLAIN
    },
    LookAlike {
        name: "stale-fdb-alone",
        summary: "old FDB entries on a node whose peers have all left",
        changes: |plan| {
            let gone = (0..2).map(|index| (index, lan::host(plan, UNUSED[index]).v4));
            vec![stale(plan, &plan.nodes[0].namespace, gone)]
        },
        ..single_node::LOOK_ALIKES[0]
    },
];

fn stale(plan: &Plan, namespace: &str, targets: impl Iterator<Item = (usize, Ipv4Addr)>) -> Script {
    let overlay = plan.overlay(Family::V4);
    Script::bridge(
        namespace,
        targets.map(|(index, ip)| {
            format!("fdb add 02:00:5e:00:53:{index:02x} dev {overlay} dst {ip} self permanent")
        }),
    )
}
