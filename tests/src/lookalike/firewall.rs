//! A firewall that does its work on every node, as ufw or firewalld when they were told of the pods:
//! what nobody allowed is dropped, and so is what belongs to no connection.

use super::{LookAlike, PLAIN};
use crate::{
    plan::{Node, Plan},
    script::{Script, Tool},
};

const TABLE: &str = "inet fltr_wall";

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "firewall-that-knows-pods",
    summary: "a firewall of each node drops what is invalid or not allowed: pods and the tunnel are",
    changes: |plan| plan.nodes.iter().map(|node| wall(plan, node)).collect(),
    ..PLAIN
}];

fn wall(plan: &Plan, node: &Node) -> Script {
    let overlays = plan.overlays();
    let inside: Vec<&str> =
        overlays.iter().map(String::as_str).chain(["lo", node.bridge.as_str()]).collect();
    let inside = inside.join(", ");
    let known = ["ct state invalid drop".to_owned(), "ct state established,related accept".into()];
    let input = [
        format!("iifname {{ {inside} }} accept"),
        format!("udp dport {} accept", plan.port),
        "meta l4proto { icmp, ipv6-icmp } accept".to_owned(),
    ];
    let forward =
        [format!("iifname {} accept", node.bridge), format!("oifname {} accept", node.bridge)];
    let chain = |hook: &str, rules: &[String]| {
        let head = format!(
            "add chain {TABLE} {hook} {{ type filter hook {hook} priority 10; policy drop; }}"
        );
        let rules = known.iter().chain(rules);
        let rules = rules.map(|rule| format!("add rule {TABLE} {hook} {rule}")).collect::<Vec<_>>();
        std::iter::once(head).chain(rules).collect::<Vec<_>>()
    };
    let lines =
        [vec![format!("add table {TABLE}")], chain("input", &input), chain("forward", &forward)];
    Script::new(Tool::Nft, Some(&node.namespace), lines.concat())
}
