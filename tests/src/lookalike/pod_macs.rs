//! Frames on the bridge reach pods that they are not for, or a pod has another MAC than before: the
//! node's neighbour entries are right all the same.

use super::{LookAlike, PLAIN, one_way_udp, two_or_more};
use crate::{
    plan::{Family, Node, Plan, Pod, Stack},
    script::{Script, Tool},
    seed::Shape,
};

const TABLE: &str = "bridge fltr_copies";

pub(super) const LOOK_ALIKES: [LookAlike; 3] = [
    LookAlike {
        name: "pod-address-reused",
        summary: "another pod has the address of one that is gone, and the node knows its MAC",
        shape: of_both,
        changes: |plan| plan.nodes.iter().flat_map(|node| reused(plan, node)).collect(),
        ..PLAIN
    },
    LookAlike {
        name: "bridge-floods",
        summary: "the bridge has forgotten behind which port a pod is, and floods all frames",
        shape: of_both,
        changes: |plan| plan.nodes.iter().flat_map(floods).collect(),
        ..PLAIN
    },
    LookAlike {
        name: "bridge-floods-and-filters",
        summary: "the bridge floods all frames, and its filter drops the copies for other pods",
        shape: of_both,
        changes: |plan| {
            let filter = |node| filter_copies(plan, node);
            plan.nodes
                .iter()
                .flat_map(|node| floods(node).into_iter().chain([filter(node)]))
                .collect()
        },
        // Copies of what nobody answers look like losses most of all.
        traffic: one_way_udp::logs,
        ..PLAIN
    },
];

fn of_both() -> Shape {
    Shape { stack: Stack::Dual, ..two_or_more() }
}

/// Every pod gets another MAC, and the node knows it before the first packet.
fn reused(plan: &Plan, node: &Node) -> Vec<Script> {
    let pods =
        (1..).zip(&node.pods).map(|(number, pod)| (pod, format!("02:00:00:00:be:{number:02}")));
    let reborn = |(pod, mac): (&Pod, String)| {
        let entry = |family: &Family| {
            let ip = pod.ip.of(*family);
            format!("neigh replace {ip} lladdr {mac} dev {} nud reachable", node.bridge)
        };
        [
            Script::ip(&pod.namespace, [format!("link set eth0 address {mac}")]),
            Script::ip(&node.namespace, plan.families().iter().map(entry)),
        ]
    };
    pods.flat_map(reborn).collect()
}

/// Ports that learn nothing, and a table without what they had learnt.
fn floods(node: &Node) -> [Script; 2] {
    let deaf = |pod: &Pod| format!("link set dev {} learning off", pod.veth);
    let forget = format!("link set {} type bridge fdb_flush", node.bridge);
    [
        Script::bridge(&node.namespace, node.pods.iter().map(deaf)),
        Script::ip(&node.namespace, [forget]),
    ]
}

/// At the port of each pod, what is for another pod of the node.
fn filter_copies(plan: &Plan, node: &Node) -> Script {
    let head = [
        format!("add table {TABLE}"),
        format!("add chain {TABLE} copies {{ type filter hook output priority 0; }}"),
    ];
    let rule = |pod: &Pod, family: &Family| {
        let (version, subnet, ip) = (family.word(), node.subnet.of(*family), pod.ip.of(*family));
        let others = format!("{version} daddr {subnet} {version} daddr != {ip}");
        format!("add rule {TABLE} copies oifname {} {others} drop", pod.veth)
    };
    let rules = node.pods.iter().flat_map(|pod| plan.families().iter().map(|it| rule(pod, it)));
    let lines: Vec<String> = head.into_iter().chain(rules).collect();
    Script::new(Tool::Nft, Some(&node.namespace), lines)
}
