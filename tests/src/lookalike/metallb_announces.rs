//! MetalLB takes a VIP: gratuitous ARP on every interface of the node, the overlay device and the
//! bridge included.

use super::{LookAlike, PLAIN};
use crate::{
    plan::Family,
    traffic::{Flow, Limits, Sender},
};

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "metallb-announces",
    summary: "MetalLB announces a VIP by gratuitous ARP on overlay device and bridge too",
    traffic: |plan| {
        let owner = &plan.nodes[plan.lan.vip_owner];
        [owner.uplink.clone(), plan.overlay(Family::V4), owner.bridge.clone()]
            .map(|device| Sender {
                namespace: owner.namespace.clone(),
                flow: Flow::GratuitousArp { device, address: plan.lan.vip.v4 },
                // Five times, 1.1 s apart.
                limits: Limits::exactly(5, 1.0 / 1.1),
            })
            .into()
    },
    ..PLAIN
}];
