//! The overlay device is down: the FDB stays, routes and neighbours go, its port is closed. IPv6 loses
//! the device's address too.

use super::{Fault, PLAIN, Reach, Subject, up_again};
use crate::script::Script;

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "flannel-link-down",
    code: "flannel-link-down",
    summary: "the overlay device is set down",
    subject: Subject::Overlay,
    reach: Reach::AllPeers,
    alone: true,
    there: &["peer-vtep-not-listening", "tunnel-one-way"],
    breaks: |plan, site| {
        let line = format!("link set {} down", plan.overlay(site.family));
        vec![Script::ip(&plan.nodes[site.victim].namespace, [line])]
    },
    heals: up_again,
    ..PLAIN
}];
