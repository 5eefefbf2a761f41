//! Another program's VXLAN device beside flannel's.

use super::{LookAlike, PLAIN};
use crate::{lan::up, plan::Plan, script::Script};

pub(super) const LOOK_ALIKES: [LookAlike; 2] = [
    LookAlike {
        name: "second-vxlan",
        summary: "a second VXLAN device, vxlan.calico, beside flannel's",
        changes: add,
        ..PLAIN
    },
    LookAlike {
        name: "docker-overlay",
        summary: "the VXLAN device of a Docker overlay network beside flannel's",
        changes: add_docker,
        ..PLAIN
    },
];

/// It learns, proxies ARP, and is a port of a bridge of its own.
fn add_docker(plan: &Plan) -> Vec<Script> {
    let scripts = plan.nodes.iter().map(|node| {
        let lines = [
            "link add br-ov type bridge".to_owned(),
            "link add vx-001001-abcde type vxlan id 4097 dstport 4789 proxy learning \
             l2miss l3miss"
                .to_owned(),
            "link set vx-001001-abcde master br-ov".to_owned(),
            "addr add 198.18.99.1/24 dev br-ov".to_owned(),
            up("br-ov"),
            up("vx-001001-abcde"),
        ];
        Script::ip(&node.namespace, lines)
    });
    scripts.collect()
}

/// As Calico makes it: its own VNI and port. The addresses are of the range for benchmarks
/// (RFC 2544), which no plan draws.
fn add(plan: &Plan) -> Vec<Script> {
    let scripts = plan.nodes.iter().enumerate().map(|(index, node)| {
        let lines = [
            format!(
                "link add vxlan.calico type vxlan id 4096 local {} dev {} dstport 4789 nolearning",
                node.ip.v4, node.uplink
            ),
            format!("addr add 198.18.{index}.0/32 dev vxlan.calico"),
            up("vxlan.calico"),
        ];
        Script::ip(&node.namespace, lines)
    });
    scripts.collect()
}
