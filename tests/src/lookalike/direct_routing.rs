//! `DirectRouting`: peers on the same network are routed by their node addresses, and pod traffic
//! leaves the uplink un-encapsulated by design.

use super::{LookAlike, PLAIN};
use crate::{flannel, plan::Plan, script::Script};

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "direct-routing",
    summary: "DirectRouting: routes to peers by their node addresses, no encapsulation",
    changes: direct,
    ..PLAIN
}];

fn direct(plan: &Plan) -> Vec<Script> {
    let pairs = plan
        .nodes
        .iter()
        .flat_map(|node| node.peer_order.iter().map(move |peer| (node, &plan.nodes[*peer])));
    pairs
        .flat_map(|(node, peer)| {
            let (subnet, via) = (peer.subnet.v4, peer.ip.v4);
            let route = format!("route add {subnet} via {via} dev {}", node.uplink);
            let mut scripts = flannel::forget(plan, node, peer);
            scripts.push(Script::ip(&node.namespace, [route]));
            scripts
        })
        .collect()
}
