//! A node: uplink, overlay device, bridge, as a kubelet's machine has them before flannel writes
//! its entries for the peers.

use std::path::Path;

use crate::{
    lan::{layer3, up},
    plan::{BridgeState, Node, Plan},
    script::{Script, Tool},
};

/// Kernel settings of a Kubernetes node.
#[must_use]
pub fn settings(node: &Node) -> Script {
    let settings =
        ["ipv4/ip_forward=1", "ipv4/conf/all/rp_filter=0", "ipv4/conf/default/rp_filter=0"];
    Script::new(Tool::Sysctl, Some(&node.namespace), settings.map(str::to_owned))
}

/// Whether bridged packets see iptables; only for kernels with br_netfilter.
#[must_use]
pub fn bridge_netfilter(plan: &Plan, node: &Node) -> Script {
    let line = format!("bridge/bridge-nf-call-iptables={}", u8::from(plan.bridge_netfilter));
    Script::new(Tool::Sysctl, Some(&node.namespace), [line])
}

/// Whether this kernel has br_netfilter now. The lab does not load it: that would change how
/// the machine's own bridges work.
#[must_use]
pub fn kernel_has_bridge_netfilter() -> bool {
    Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables").exists()
}

/// Address and routes of the uplink.
#[must_use]
pub fn uplink(plan: &Plan, node: &Node) -> Vec<String> {
    let (ip, device, length) = (node.ip, &node.uplink, plan.lan.node_prefix());
    let mut lines = vec![up("lo"), format!("addr add {ip}/{length} dev {device}"), up(device)];
    lines.extend(layer3::rule(plan));
    lines.extend(routes(plan, node));
    lines
}

/// The routes that the kernel removes when the uplink goes down, but for that of its address.
#[must_use]
pub fn routes(plan: &Plan, node: &Node) -> Vec<String> {
    layer3::routes(plan, node).into_iter().chain([default_route(plan, node)]).collect()
}

/// The default route.
#[must_use]
pub fn default_route(plan: &Plan, node: &Node) -> String {
    format!("route replace default via {} dev {}", plan.lan.gateway, node.uplink)
}

/// The bridge, as flannel's CNI plugin makes it at the first pod.
#[must_use]
pub fn bridge(plan: &Plan, node: &Node) -> Vec<String> {
    if node.bridge_state == BridgeState::Absent {
        return Vec::new();
    }
    let (name, length) = (&node.bridge, node.subnet.prefix_len());
    vec![
        format!("link add {name} mtu {} type bridge", plan.pod_mtu()),
        format!("addr add {}/{length} brd + dev {name}", node.bridge_ip()),
        up(name),
    ]
}

/// The veth pair of every pod, its near end in the bridge.
#[must_use]
pub fn pod_ports(plan: &Plan, node: &Node) -> Vec<String> {
    let mtu = plan.pod_mtu();
    node.pods
        .iter()
        .map(|pod| {
            format!(
                "link add {} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {}",
                pod.veth, pod.namespace
            )
        })
        .chain(join_pods(node))
        .collect()
}

/// Puts the near ends of the pods into the bridge.
#[must_use]
pub fn join_pods(node: &Node) -> Vec<String> {
    let join = |pod: &crate::plan::Pod| format!("link set {} master {} up", pod.veth, node.bridge);
    node.pods.iter().map(join).collect()
}
