//! Another program's VXLAN device beside flannel's.

use super::{LookAlike, PLAIN};
use crate::{lan::up, plan::Plan, script::Script};

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "second-vxlan",
    summary: "a second VXLAN device, vxlan.calico, beside flannel's",
    changes: add,
    ..PLAIN
}];

/// As Calico makes it: its own VNI and port. The addresses are of the range for benchmarks
/// (RFC 2544), which no plan draws.
fn add(plan: &Plan) -> Vec<Script> {
    let scripts = plan.nodes.iter().enumerate().map(|(index, node)| {
        let lines = [
            format!(
                "link add vxlan.calico type vxlan id 4096 local {} dev {} dstport 4789 nolearning",
                node.ip, node.uplink
            ),
            format!("addr add 198.18.{index}.0/32 dev vxlan.calico"),
            up("vxlan.calico"),
        ];
        Script::ip(&node.namespace, lines)
    });
    scripts.collect()
}
