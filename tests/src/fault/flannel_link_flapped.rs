//! The overlay device went down and up: the FDB is full, routes and neighbours are gone, and in IPv6
//! the device's address.

use super::{Fault, PLAIN, Reach, Subject, up_again};
use crate::{lan::up, script::Script};

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "flannel-link-flapped-state-lost",
    code: "flannel-link-flapped-state-lost",
    summary: "the overlay device goes down and up, and loses routes and neighbours",
    subject: Subject::Overlay,
    reach: Reach::AllPeers,
    there: &["tunnel-one-way"],
    breaks: |plan, site| {
        let overlay = plan.overlay(site.family);
        let lines = [format!("link set {overlay} down"), up(&overlay)];
        vec![Script::ip(&plan.nodes[site.victim].namespace, lines)]
    },
    heals: up_again,
    ..PLAIN
}];
