//! Somebody looks at all packets of every node with `tcpdump -i any`.

use super::{LookAlike, PLAIN, steady};
use crate::traffic::Flow;

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "tcpdump-any",
    summary: "a packet socket listens on all devices of every node",
    traffic: |plan| {
        plan.nodes.iter().map(|node| steady(&node.namespace, Flow::Capture, 50.0)).collect()
    },
    ..PLAIN
}];
