//! The node network without Ethernet: every host has a TUN device, as with a VPN, and a relay in
//! place of the switch carries packets by their destination address.

use std::net::IpAddr;

use crate::{
    netns,
    plan::{Node, Plan, UplinkKind},
    relay::End,
    script::Script,
};

/// Packets that a device holds for the relay. A VPN's has 500; here a burst of a busy lab must not
/// be lost, because a test counts it.
const QUEUE: u32 = 20_000;
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

/// As tailscaled does it: the routes stand in a table of their own.
#[must_use]
pub fn rule(plan: &Plan) -> Option<String> {
    is_used(plan).then(|| format!("rule add pref {PREFERENCE} lookup {TABLE}"))
}

/// A route for each peer, as tailscaled writes them, and one for the other hosts; nothing where the
/// uplinks are Ethernet.
#[must_use]
pub fn routes(plan: &Plan, node: &Node) -> Vec<String> {
    if !is_used(plan) {
        return Vec::new();
    }
    let peers = node.peer_order.iter().map(|peer| plan.nodes[*peer].ip);
    let device = &node.uplink;
    peers
        .map(|ip| format!("route replace {ip} dev {device} table {TABLE}"))
        .chain([format!("route replace {} dev {device}", plan.lan.network)])
        .collect()
}

fn is_used(plan: &Plan) -> bool {
    plan.lan.uplink == UplinkKind::Tun
}

/// Every host, and the addresses that the relay sends to it.
#[must_use]
pub fn ends(plan: &Plan) -> Vec<End> {
    let lan = &plan.lan;
    let end = |namespace: &str, device: &str, addresses: Vec<IpAddr>| End {
        namespace: namespace.to_owned(),
        device: device.to_owned(),
        addresses,
    };
    let mut ends: Vec<End> = plan
        .nodes
        .iter()
        .map(|node| end(&node.namespace, &node.uplink, vec![node.ip.into()]))
        .collect();
    ends[lan.vip_owner].addresses.push(lan.vip.into());
    ends.push(end(netns::GATEWAY, "eth0", vec![lan.gateway.into()]));
    ends.push(end(netns::CLIENT, "eth0", vec![lan.client.into()]));
    ends
}
