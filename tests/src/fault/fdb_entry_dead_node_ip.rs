//! A peer's FDB entry names an address that no node has: one of the LAN, for which nobody answers
//! ARP, or one behind the gateway, where packets vanish. The peer itself goes on sending.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Fault, PLAIN, pair};
use crate::{
    flannel, lan,
    plan::{Addresses, Both, Plan, Site},
    script::Script,
};

/// The last part of an address of the LAN that no plan gives to anybody.
const NOBODY: u8 = 9;
/// Of the ranges for benchmarks (RFC 2544, RFC 5180), which no plan draws.
const ELSEWHERE: Addresses =
    Both { v4: Ipv4Addr::new(198, 18, 201, 9), v6: Ipv6Addr::new(0x2001, 2, 0, 201, 0, 0, 0, 9) };

const MODEL: Fault = Fault {
    name: "fdb-entry-dead-node-ip",
    code: "fdb-entry-dead-node-ip",
    summary: "the FDB entry of a peer's VTEP names an address of the LAN that nobody has",
    without_peers: &["peer-node-unreachable-l2"],
    ethernet_only: Some("nobody asks for the MAC of an address"),
    breaks: |plan, site| {
        let (victim, nobody) = (&plan.nodes[site.victim], lan::host(plan, NOBODY).of(site.family));
        let asked = Script::ip(&victim.namespace, [lan::give_up_address(victim, nobody)]);
        [send_to(plan, site, nobody), vec![asked]].concat()
    },
    heals: |plan, site| {
        let (victim, peer) = pair(plan, site);
        vec![Script::bridge(&victim.namespace, [flannel::fdb_entry(plan, peer, site.family)])]
    },
    ..PLAIN
};

pub(super) const FAULTS: [Fault; 2] = [
    MODEL,
    Fault {
        name: "fdb-entry-dead-node-ip-routed",
        summary: "the FDB entry of a peer's VTEP names an address behind the gateway",
        without_peers: &["unexplained-loss", "tunnel-one-way"],
        ethernet_only: None,
        breaks: |plan, site| send_to(plan, site, ELSEWHERE.of(site.family)),
        ..MODEL
    },
];

fn send_to(plan: &Plan, site: Site, address: IpAddr) -> Vec<Script> {
    let (victim, peer) = pair(plan, site);
    let (mac, overlay) = (peer.vtep_mac.of(site.family), plan.overlay(site.family));
    let line = format!("fdb replace {mac} dev {overlay} dst {address} self permanent");
    vec![Script::bridge(&victim.namespace, [line])]
}
