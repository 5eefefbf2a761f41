//! A peer's FDB entry names the node itself: its packets loop through the overlay device.

use super::{Fault, PLAIN, pair};
use crate::{flannel, script::Script};

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "fdb-entry-points-to-self",
    code: "fdb-entry-points-to-self",
    summary: "the FDB entry of a peer's VTEP names the node itself",
    breaks: |plan, site| {
        let (victim, peer) = pair(plan, site);
        let (mac, own) = (peer.vtep_mac.of(site.family), victim.ip.of(site.family));
        let overlay = plan.overlay(site.family);
        let line = format!("fdb replace {mac} dev {overlay} dst {own} self permanent");
        vec![Script::bridge(&victim.namespace, [line])]
    },
    heals: |plan, site| {
        let (victim, peer) = pair(plan, site);
        vec![Script::bridge(&victim.namespace, [flannel::fdb_entry(plan, peer, site.family)])]
    },
    ..PLAIN
}];
