//! A hardened node: `net.ipv4.ip_forward` is 0, and forwarding is on for the devices that need it.

use super::{LookAlike, PLAIN};
use crate::{
    plan::{Family, Plan},
    script::{Script, Tool},
};

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "forwarding-by-device",
    summary: "forwarding is off but for bridge and overlay device",
    changes: |plan| plan.nodes.iter().map(|node| on_two_devices(plan, node)).collect(),
    ..PLAIN
}];

fn on_two_devices(plan: &Plan, node: &crate::plan::Node) -> Script {
    let on = |device: &str| format!("ipv4/conf/{device}/forwarding=1");
    let lines = ["ipv4/ip_forward=0".to_owned(), on(&node.bridge), on(&plan.overlay(Family::V4))];
    Script::new(Tool::Sysctl, Some(&node.namespace), lines)
}
