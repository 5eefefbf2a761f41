//! Nodes send by other MACs than they answer ARP with, as those with a bond do (balance-tlb and
//! balance-alb, Documentation/networking/bonding.rst, Linux 6.18). The switch does it here, before it
//! learns.

use super::{LookAlike, PLAIN, two_or_more};
use crate::{
    netns,
    plan::{Node, Plan, Stack},
    script::{Script, Tool},
    seed::Shape,
};

const TABLE: &str = "bridge fltr_bonds";

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "frames-of-bonds",
    summary: "the nodes' frames come from other MACs than the nodes answer ARP with",
    shape: || Shape { stack: Stack::Dual, ..two_or_more() },
    changes: |plan| vec![send_by_other_macs(plan)],
    ..PLAIN
}];

fn send_by_other_macs(plan: &Plan) -> Script {
    let head = [
        format!("add table {TABLE}"),
        format!("add chain {TABLE} comes {{ type filter hook prerouting priority -300; }}"),
    ];
    let rule = |(number, node): (usize, &Node)| {
        let matches = format!("iifname {} ether type {{ ip, ip6 }}", node.name);
        format!("add rule {TABLE} comes {matches} ether saddr set 02:00:00:00:b0:{number:02}")
    };
    let rules = (1..).zip(&plan.nodes).map(rule);
    Script::new(Tool::Nft, Some(netns::SWITCH), head.into_iter().chain(rules))
}
