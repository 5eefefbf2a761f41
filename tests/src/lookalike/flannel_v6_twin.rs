//! A dual-stack node: flannel has a second device for IPv6, which the kernel has made 20 bytes
//! smaller than bridge and pods.

use super::{LookAlike, PLAIN};
use crate::{lan::up, plan::Plan, script::Script};

/// What outer IPv6 headers need more than those of IPv4, bytes.
const MORE: u32 = 20;

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "flannel-v6-twin",
    summary: "flannel-v6.1 beside flannel.1, 20 bytes smaller than bridge and pods",
    changes: add,
    ..PLAIN
}];

/// The same VNI and port, a socket of its own.
fn add(plan: &Plan) -> Vec<Script> {
    let (vni, port, mtu) = (plan.vni, plan.port, plan.pod_mtu() - MORE);
    let scripts = plan.nodes.iter().enumerate().map(|(index, node)| {
        let (uplink, twin) = (&node.uplink, format!("flannel-v6.{vni}"));
        let lines = [
            format!("addr add fd00:77::{index}/64 dev {uplink} nodad"),
            format!(
                "link add {twin} mtu {mtu} type vxlan id {vni} local fd00:77::{index} dev {uplink} \
                 dstport {port} nolearning"
            ),
            format!("addr add fd00:244:0:{index}::/128 dev {twin}"),
            up(&twin),
        ];
        Script::ip(&node.namespace, lines)
    });
    scripts.collect()
}
