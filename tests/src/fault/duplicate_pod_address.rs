//! The node has the address of a peer's pod too. IPv4 alone takes packets with an own address as their
//! source for forged; IPv6 delivers them, and only the answers stay here.

use ipnet::IpNet;

use super::{Fault, PLAIN, pair};
use crate::{
    lan::add_address,
    plan::{Plan, Site, Stack},
    script::Script,
};

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "duplicate-pod-cidr-or-address",
    code: "duplicate-pod-cidr-or-address",
    summary: "the node's lo has the address of a peer's pod",
    families: Stack::V4.families(),
    // The peer's node itself and its other pods are still answered.
    there: &["unexplained-loss", "tunnel-one-way"],
    breaks: |plan, site| own_address(plan, site, |address| add_address(address, "lo")),
    heals: |plan, site| own_address(plan, site, |address| format!("addr del {address} dev lo")),
    ..PLAIN
}];

fn own_address(plan: &Plan, site: Site, line: impl Fn(IpNet) -> String) -> Vec<Script> {
    let (victim, peer) = pair(plan, site);
    let address = peer.first_pod().map(|pod| IpNet::from(pod.ip.of(site.family)));
    vec![Script::ip(&victim.namespace, address.map(line))]
}
