//! A network on which large packets are lost: a port that is too small for them, or a switch that drops
//! fragments.

use std::path::Path;

use crate::{
    netns,
    plan::Node,
    script::{Script, Tool},
};

const TABLE: &str = "bridge whole";

/// The MTU of the switch's port towards a node.
#[must_use]
pub fn port_mtu(node: &Node, mtu: u32) -> Script {
    Script::ip(netns::SWITCH, [format!("link set {} mtu {mtu}", node.name)])
}

/// The MTU of a node's uplink.
#[must_use]
pub fn uplink_mtu(node: &Node, mtu: u32) -> Script {
    Script::ip(&node.namespace, [format!("link set {} mtu {mtu}", node.uplink)])
}

/// No switch sends in fragments what is too large for a port, as a bridge does that looks into packets.
#[must_use]
pub fn plain_switch() -> Script {
    let settings = ["iptables", "ip6tables"].map(|it| format!("bridge/bridge-nf-call-{it}=0"));
    let can_look = Path::new("/proc/sys/net/bridge").exists();
    Script::new(Tool::Sysctl, Some(netns::SWITCH), settings.into_iter().filter(|_| can_look))
}

/// Has the switch drop fragments of both IP versions, and drop nothing any more.
#[must_use]
pub fn without_fragments() -> (Script, Script) {
    let lines = [
        format!("add table {TABLE}"),
        format!("add chain {TABLE} here {{ type filter hook forward priority 0; }}"),
        format!("add rule {TABLE} here ip frag-off & 0x3fff != 0 drop"),
        format!("add rule {TABLE} here exthdr frag exists drop"),
    ];
    let script = |lines: Vec<String>| Script::new(Tool::Nft, Some(netns::SWITCH), lines);
    (script(lines.into()), script(vec![format!("delete table {TABLE}")]))
}
