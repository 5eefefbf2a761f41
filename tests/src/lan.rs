//! The node network: a bridge in a namespace of its own, the gateway, and a client.

pub mod layer3;
pub mod loss;
pub mod narrow;

use std::net::IpAddr;

use anyhow::Result;
use ipnet::IpNet;

use crate::{
    netns,
    plan::{Addresses, Both, Family, Networks, Node, Plan, UplinkKind},
    relay,
    script::{Script, Tool, run_all},
};

const BRIDGE: &str = "lan";

/// What joins the nodes, the gateway and the client: a switch, or a relay.
///
/// # Errors
/// When a tool is missing or refuses.
pub fn build(plan: &Plan) -> Result<()> {
    match plan.lan.uplink {
        UplinkKind::Ethernet => switch(plan).run(),
        UplinkKind::Tun => {
            run_all(&layer3::devices(plan))?;
            relay::start(&layer3::ends(plan))
        }
    }
}

/// The switch with one port for each node, the gateway and the client. Every veth pair is created
/// in the switch's namespace, so that none ever appears in the machine's own.
#[must_use]
pub fn switch(plan: &Plan) -> Script {
    let ports = plan.nodes.iter().flat_map(|node| port_for_node(plan, node));
    let lines = ["link set lo up".into(), format!("link add {BRIDGE} type bridge")]
        .into_iter()
        .chain(ports)
        .chain(port(plan, "gateway", &format!("eth0 netns {}", netns::GATEWAY)))
        .chain(port(plan, "client", &format!("eth0 netns {}", netns::CLIENT)))
        .chain([format!("link set {BRIDGE} up")]);
    Script::ip(netns::SWITCH, lines)
}

/// The switch's port for one node, and with it the node's uplink.
#[must_use]
pub fn port_for_node(plan: &Plan, node: &Node) -> Vec<String> {
    let far_end = format!("{} address {} netns {}", node.uplink, node.uplink_mac, node.namespace);
    port(plan, &node.name, &far_end)
}

/// Nobody waits for two seconds until IPv6 has asked whether another has a device's link-local
/// address: until then a router does not ask for neighbours (ndisc_send_ns() in net/ipv6/ndisc.c,
/// Linux 6.18). To be written before there are devices; a lab of IPv4 does without.
#[must_use]
pub fn no_waiting(plan: &Plan) -> Vec<Script> {
    if !plan.families().contains(&Family::V6) {
        return Vec::new();
    }
    let settings = ["ipv6/conf/all/accept_dad=0", "ipv6/conf/default/accept_dad=0"];
    let in_namespace =
        |name: &String| Script::new(Tool::Sysctl, Some(name.as_str()), settings.map(str::to_owned));
    plan.namespaces().iter().map(in_namespace).collect()
}

/// Gateway and client.
#[must_use]
pub fn hosts(plan: &Plan) -> Vec<Script> {
    let gateway = plan.families().iter().flat_map(|family| of_gateway(plan, *family));
    let client = plan.families().iter().flat_map(|family| of_client(plan, *family));
    let up = ["lo", "eth0"].map(up);
    vec![
        plain_host(netns::GATEWAY),
        Script::ip(netns::GATEWAY, up.iter().cloned().chain(gateway)),
        plain_host(netns::CLIENT),
        Script::ip(netns::CLIENT, up.iter().cloned().chain(client)),
    ]
}

fn of_gateway(plan: &Plan, family: Family) -> Vec<String> {
    let mut lines = vec![add_address(on_lan(plan, &plan.lan.gateway, family), "eth0")];
    if family == Family::V6 {
        // Without a route IPv6 answers "no route", whether it forwards or not (ip6_pkt_drop() in
        // net/ipv6/route.c, Linux 6.18).
        lines.push(format!("route add blackhole {}", family.everything()));
    }
    lines
}

fn of_client(plan: &Plan, family: Family) -> Vec<String> {
    let lan = &plan.lan;
    let mut lines = vec![
        add_address(on_lan(plan, &lan.client, family), "eth0"),
        format!("route add default via {}", lan.gateway.of(family)),
    ];
    if lan.uplink == UplinkKind::Ethernet {
        // Stands for the answer of the speaker that announces the VIP.
        let (vip, owner) = (lan.vip.of(family), plan.nodes[lan.vip_owner].uplink_mac);
        lines.push(format!("neigh add {vip} lladdr {owner} dev eth0 nud permanent"));
    }
    lines
}

/// A host that forwards nothing: what is not for itself is swallowed without an answer (ip_error()
/// in net/ipv4/route.c sends no ICMP while forwarding is off, Linux 6.18). A new namespace takes
/// these settings over from the machine, so they are written.
#[must_use]
pub fn plain_host(namespace: &str) -> Script {
    let settings = [
        "ipv4/ip_forward=0",
        "ipv4/conf/all/rp_filter=0",
        "ipv4/conf/default/rp_filter=0",
        "ipv6/conf/all/forwarding=0",
    ];
    Script::new(Tool::Sysctl, Some(namespace), settings.map(str::to_owned))
}

/// `link set DEVICE up`
#[must_use]
pub fn up(device: &str) -> String {
    format!("link set {device} up")
}

/// Gives a device an address that is good at once: nobody waits until IPv6 has asked whether
/// another has it.
#[must_use]
pub fn add_address(address: IpNet, device: &str) -> String {
    let at_once = if address.addr().is_ipv6() { " nodad" } else { "" };
    format!("addr add {address} dev {device}{at_once}")
}

/// An address with the length of the LAN's network.
#[must_use]
pub fn on_lan(plan: &Plan, address: &Addresses, family: Family) -> IpNet {
    IpNet::new_assert(address.of(family), plan.lan.network.of(family).prefix_len())
}

/// An address with the length that a node's uplink gives it.
#[must_use]
pub fn on_uplink(plan: &Plan, address: &Addresses, family: Family) -> IpNet {
    IpNet::new_assert(address.of(family), plan.lan.node_prefix(family))
}

/// Addresses of the LAN by their last part. No plan gives those below 10 to anybody, but 1.
#[must_use]
pub fn host(plan: &Plan, last: u8) -> Addresses {
    let Networks { v4, v6 } = plan.lan.network;
    Both {
        v4: (v4.network().to_bits() | u32::from(last)).into(),
        v6: (v6.network().to_bits() | u128::from(last)).into(),
    }
}

/// Has a node know of another on the LAN that it did not answer who asked for its MAC, as it does a
/// few seconds after that one fell silent. With the next packet it asks again. An entry that is
/// deleted would be there again with the next packet only, and tables that are read before it show
/// nothing.
#[must_use]
pub fn give_up(node: &Node, other: &Node, family: Family) -> String {
    give_up_address(node, other.ip.of(family))
}

/// The same with any address of the LAN.
#[must_use]
pub fn give_up_address(node: &Node, address: IpAddr) -> String {
    format!("neigh replace {address} dev {} nud failed", node.uplink)
}

/// Has a node know the MAC of another on the LAN for a while, as after a packet of that one.
#[must_use]
pub fn remember(node: &Node, other: &Node, family: Family) -> String {
    let (ip, mac) = (other.ip.of(family), other.uplink_mac);
    format!("neigh replace {ip} lladdr {mac} dev {} nud reachable", node.uplink)
}

fn port(plan: &Plan, name: &str, far_end: &str) -> Vec<String> {
    let mtu = plan.lan.mtu;
    let (device, rest) = far_end.split_once(' ').unwrap_or((far_end, ""));
    vec![
        format!("link add {name} mtu {mtu} type veth peer name {device} mtu {mtu} {rest}"),
        format!("link set {name} master {BRIDGE} up"),
    ]
}
