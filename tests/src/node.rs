//! A node: uplink, overlay device, bridge, as a kubelet's machine has them before flannel writes
//! its entries for the peers.

use std::path::Path;

use ipnet::IpNet;

use crate::{
    lan::{add_address, layer3, on_uplink, up},
    plan::{BridgeState, Family, Mac, Node, Plan, Pod},
    script::{Script, Tool},
};

/// Kernel settings of a Kubernetes node.
#[must_use]
pub fn settings(plan: &Plan, node: &Node) -> Script {
    let common = ["ipv4/conf/all/rp_filter=0", "ipv4/conf/default/rp_filter=0"].map(str::to_owned);
    let forwarding = plan.families().iter().map(|family| format!("{}=1", forwarding(*family)));
    Script::new(Tool::Sysctl, Some(&node.namespace), common.into_iter().chain(forwarding))
}

/// The setting that says whether a node forwards packets of a family.
#[must_use]
pub fn forwarding(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4/ip_forward",
        Family::V6 => "ipv6/conf/all/forwarding",
    }
}

/// Whether bridged packets see iptables; only for kernels with br_netfilter.
#[must_use]
pub fn bridge_netfilter(plan: &Plan, node: &Node) -> Script {
    let value = u8::from(plan.bridge_netfilter);
    let lines = ["iptables", "ip6tables"].map(|it| format!("bridge/bridge-nf-call-{it}={value}"));
    Script::new(Tool::Sysctl, Some(&node.namespace), lines)
}

/// Whether this kernel has br_netfilter now. The lab does not load it: that would change how
/// the machine's own bridges work.
#[must_use]
pub fn kernel_has_bridge_netfilter() -> bool {
    Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables").exists()
}

/// Addresses and routes of the uplink.
#[must_use]
pub fn uplink(plan: &Plan, node: &Node) -> Vec<String> {
    let of_family = |family: &Family| {
        [vec![uplink_address(plan, node, *family)], routes(plan, node, *family)].concat()
    };
    let lines = plan.families().iter().flat_map(of_family);
    [up("lo"), up(&node.uplink)].into_iter().chain(lines).collect()
}

/// The routes of a family that the kernel removes when the uplink goes down, but for that of its
/// address.
#[must_use]
pub fn routes(plan: &Plan, node: &Node, family: Family) -> Vec<String> {
    let default = default_route(plan, node, family);
    layer3::routes(plan, node, family).into_iter().chain([default]).collect()
}

/// Gives the uplink its address of a family.
#[must_use]
pub fn uplink_address(plan: &Plan, node: &Node, family: Family) -> String {
    add_address(on_uplink(plan, &node.ip, family), &node.uplink)
}

/// The default route of a family.
#[must_use]
pub fn default_route(plan: &Plan, node: &Node, family: Family) -> String {
    format!("route replace default via {} dev {}", plan.lan.gateway.of(family), node.uplink)
}

/// Deletes the default route of a family.
#[must_use]
pub fn no_default_route(family: Family) -> String {
    format!("route del {}", family.everything())
}

/// The bridge, as flannel's CNI plugin makes it at the first pod.
#[must_use]
pub fn bridge(plan: &Plan, node: &Node) -> Vec<String> {
    if node.bridge_state == BridgeState::Absent {
        return Vec::new();
    }
    let addresses = plan.families().iter().map(|family| bridge_address(node, *family));
    let name = &node.bridge;
    let mut lines = vec![format!("link add {name} mtu {} type bridge", plan.pod_mtu())];
    lines.extend(addresses);
    lines.push(up(name));
    lines
}

/// Gives the bridge its address of a family.
#[must_use]
pub fn bridge_address(node: &Node, family: Family) -> String {
    match node.end(family).bridge_address() {
        address @ IpNet::V4(_) => format!("addr add {address} brd + dev {}", node.bridge),
        address @ IpNet::V6(_) => add_address(address, &node.bridge),
    }
}

/// The veth pair of every pod, its near end in the bridge. The bridge takes the lowest MAC of its ports
/// (`br_stp_recalculate_bridge_id`, net/bridge/br_stp_if.c, 6.18), and other pods lose their gateway for
/// half a minute when that port goes (flannel issue 1381): here it is that of the first pod, which no
/// fault takes away from the others.
#[must_use]
pub fn pod_ports(plan: &Plan, node: &Node) -> Vec<String> {
    let mtu = plan.pod_mtu();
    let port = |(number, pod): (u8, &Pod)| {
        let [a, b, c, d] = pod.ip.v4.octets();
        let mac = Mac([0xee, number, a, b, c, d]);
        format!(
            "link add {} mtu {mtu} address {mac} type veth peer name eth0 mtu {mtu} netns {}",
            pod.veth, pod.namespace
        )
    };
    (0..).zip(&node.pods).map(port).chain(join_pods(node)).collect()
}

/// Puts the near ends of the pods into the bridge.
#[must_use]
pub fn join_pods(node: &Node) -> Vec<String> {
    let join = |pod: &Pod| format!("link set {} master {} up", pod.veth, node.bridge);
    node.pods.iter().map(join).collect()
}
