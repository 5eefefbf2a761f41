//! The node network without Ethernet: every host has a TUN device, as with a VPN, and a relay in
//! place of the switch carries packets by their destination address.

use std::net::IpAddr;

use crate::{
    netns,
    plan::{Addresses, Family, Node, Plan, UplinkKind},
    relay::End,
    script::Script,
};

/// Packets that a device holds for the relay. A VPN's has 500; here a burst of a busy lab must not
/// be lost, because a test counts it.
pub const QUEUE: u32 = 20_000;
/// The routing table and the preference of its rule; tailscaled's own numbers, 52 and 5270, belong to
/// a fault.
const TABLE: u32 = 152;
const PREFERENCE: u32 = 5290;

/// A TUN device for every host: persistent, so that it has a name before the relay holds it. It
/// goes with its namespace.
#[must_use]
pub fn devices(plan: &Plan) -> Vec<Script> {
    let device = |end: &End| {
        let (name, mtu) = (&end.device, plan.lan.mtu);
        let lines = [
            format!("tuntap add dev {name} mode tun vnet_hdr"),
            format!("link set {name} mtu {mtu} txqueuelen {QUEUE}"),
        ];
        Script::ip(&end.namespace, lines)
    };
    ends(plan).iter().map(device).collect()
}

/// As tailscaled does it: the routes stand in a table of their own, one of each family. Nothing
/// where the uplinks are Ethernet.
#[must_use]
pub fn rules(plan: &Plan, node: &Node) -> Vec<Script> {
    if !is_used(plan) {
        return Vec::new();
    }
    let line = format!("rule add pref {PREFERENCE} lookup {TABLE}");
    let rule = |family: &Family| Script::ip_of(*family, &node.namespace, [line.clone()]);
    plan.families().iter().map(rule).collect()
}

/// A route for each peer, as tailscaled writes them, and one for the other hosts; nothing where the
/// uplinks are Ethernet.
#[must_use]
pub fn routes(plan: &Plan, node: &Node, family: Family) -> Vec<String> {
    if !is_used(plan) {
        return Vec::new();
    }
    let peers = node.peer_order.iter().map(|peer| plan.nodes[*peer].ip.of(family));
    let (device, network) = (&node.uplink, plan.lan.network.of(family));
    peers
        .map(|ip| format!("route replace {ip} dev {device} table {TABLE}"))
        .chain([format!("route replace {network} dev {device}")])
        .collect()
}

fn is_used(plan: &Plan) -> bool {
    plan.lan.uplink == UplinkKind::Tun
}

/// Every host, and the addresses that the relay sends to it.
#[must_use]
pub fn ends(plan: &Plan) -> Vec<End> {
    let lan = &plan.lan;
    let end = |namespace: &str, device: &str, addresses: &[Addresses]| End {
        namespace: namespace.to_owned(),
        device: device.to_owned(),
        addresses: all_families(plan, addresses),
    };
    let of_node = |(index, node): (usize, &Node)| {
        let vip = (index == lan.vip_owner).then_some(lan.vip);
        let addresses: Vec<Addresses> = [node.ip].into_iter().chain(vip).collect();
        end(&node.namespace, &node.uplink, &addresses)
    };
    let others = [(netns::GATEWAY, lan.gateway), (netns::CLIENT, lan.client)];
    let nodes = plan.nodes.iter().enumerate().map(of_node);
    nodes.chain(others.map(|(namespace, ip)| end(namespace, "eth0", &[ip]))).collect()
}

/// Those of the families that the cluster speaks.
fn all_families(plan: &Plan, addresses: &[Addresses]) -> Vec<IpAddr> {
    let of_family = |family: &Family| addresses.iter().map(|it| it.of(*family)).collect::<Vec<_>>();
    plan.families().iter().flat_map(of_family).collect()
}
