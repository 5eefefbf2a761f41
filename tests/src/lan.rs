//! The node network: a bridge in a namespace of its own, the gateway, and a client.

pub mod layer3;

use anyhow::Result;

use crate::{
    netns,
    plan::{Node, Plan, UplinkKind},
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

/// Gateway and client.
#[must_use]
pub fn hosts(plan: &Plan) -> Vec<Script> {
    let lan = &plan.lan;
    let address = |ip| format!("addr add {ip}/{} dev eth0", lan.network.prefix_len());
    let owner = plan.nodes[lan.vip_owner].uplink_mac;
    // Stands for the ARP answer of the speaker that announces the VIP.
    let announced = (lan.uplink == UplinkKind::Ethernet)
        .then(|| format!("neigh add {} lladdr {owner} dev eth0 nud permanent", lan.vip));
    vec![
        plain_host(netns::GATEWAY),
        Script::ip(netns::GATEWAY, [up("lo"), address(lan.gateway), up("eth0")]),
        plain_host(netns::CLIENT),
        Script::ip(
            netns::CLIENT,
            [
                up("lo"),
                address(lan.client),
                up("eth0"),
                format!("route add default via {}", lan.gateway),
            ]
            .into_iter()
            .chain(announced),
        ),
    ]
}

/// A host that forwards nothing: what is not for itself is swallowed without an answer (ip_error()
/// in net/ipv4/route.c sends no ICMP while forwarding is off, Linux 6.18). A new namespace takes
/// these settings over from the machine, so they are written.
#[must_use]
pub fn plain_host(namespace: &str) -> Script {
    let settings =
        ["ipv4/ip_forward=0", "ipv4/conf/all/rp_filter=0", "ipv4/conf/default/rp_filter=0"];
    Script::new(Tool::Sysctl, Some(namespace), settings.map(str::to_owned))
}

/// `link set DEVICE up`
#[must_use]
pub fn up(device: &str) -> String {
    format!("link set {device} up")
}

/// Has a node forget the MAC of another on the LAN, as it does when it has not heard of it for a
/// while. It need not know one.
#[must_use]
pub fn forget(node: &Node, other: &Node) -> String {
    format!("neigh flush to {} dev {}", other.ip, node.uplink)
}

/// Has a node know the MAC of another on the LAN for a while, as after a packet of that one.
#[must_use]
pub fn remember(node: &Node, other: &Node) -> String {
    let (ip, mac) = (other.ip, other.uplink_mac);
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
