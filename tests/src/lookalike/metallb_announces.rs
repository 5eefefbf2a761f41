//! MetalLB takes a VIP: gratuitous ARP or neighbour advertisements on every interface of the node, the
//! overlay device and the bridge included.

use super::{LookAlike, PLAIN, two_or_more};
use crate::{
    plan::{Family, Stack},
    seed::Shape,
    traffic::{Flow, Limits, Sender},
};

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "metallb-announces",
    summary: "MetalLB announces a VIP on overlay device and bridge too",
    shape: || Shape { stack: Stack::Dual, ..two_or_more() },
    traffic: |plan| {
        let owner = &plan.nodes[plan.lan.vip_owner];
        let announce = |family: Family| {
            let devices = [owner.uplink.clone(), plan.overlay(family), owner.bridge.clone()];
            devices.map(|device| Sender {
                namespace: owner.namespace.clone(),
                flow: Flow::Announcement { device, address: plan.lan.vip.of(family) },
                // Five times, 1.1 s apart.
                limits: Limits::exactly(5, 1.0 / 1.1),
            })
        };
        plan.families().iter().copied().flat_map(announce).collect()
    },
    ..PLAIN
}];
