//! A switch that loses the tunnel's datagrams between two nodes, as networks with a VXLAN of their
//! own or a security group do. Everything else passes.

use crate::{
    netns,
    plan::{Node, Plan},
    script::{Script, Tool},
};

const TABLE: &str = "bridge lost";

/// Has the switch drop what `from` sends to `to` through the tunnel, for each of these pairs.
#[must_use]
pub fn begin(plan: &Plan, pairs: &[(&Node, &Node)]) -> Script {
    let port = plan.port;
    let rule = |(from, to): &(&Node, &Node)| {
        format!("iifname {} oifname {} udp dport {port} counter drop", from.name, to.name)
    };
    let head = [
        format!("table {TABLE} {{"),
        "chain forward {".to_owned(),
        // Before br_netfilter: on Linux 5.10 and 6.1 its hook is at -1, and what it lets pass goes
        // on behind 0 (net/bridge/br_netfilter_hooks.c, br_nf_hook_thresh).
        "type filter hook forward priority -200".to_owned(),
    ];
    let end = ["}".to_owned(), "}".to_owned()];
    let lines = head.into_iter().chain(pairs.iter().map(rule)).chain(end);
    Script::new(Tool::Nft, Some(netns::SWITCH), lines)
}

/// Has it drop nothing any more.
#[must_use]
pub fn end() -> Script {
    Script::new(Tool::Nft, Some(netns::SWITCH), [format!("delete table {TABLE}")])
}
