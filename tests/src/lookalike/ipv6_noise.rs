//! IPv6 multicast of the overlay device's own: it has no FDB entry and is dropped all the time.

use super::{LookAlike, PLAIN, steady};
use crate::{plan::Family, traffic::Flow};

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "ipv6-noise",
    summary: "IPv6 multicast on the overlay device is dropped, as on every node",
    traffic: |plan| {
        plan.nodes
            .iter()
            .map(|node| {
                let device = plan.overlay(Family::V4);
                steady(&node.namespace, Flow::Multicast6 { device }, 10.0)
            })
            .collect()
    },
    ..PLAIN
}];
