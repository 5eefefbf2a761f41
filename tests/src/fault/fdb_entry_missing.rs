//! A peer's VTEP MAC has no FDB entry: packets for it die in the overlay device.

use super::{Fault, PLAIN, Reach, Subject, pair};
use crate::{flannel, script::Script};

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "fdb-entry-missing",
    code: "fdb-entry-missing",
    summary: "the FDB entry of a peer's VTEP is deleted",
    subject: Subject::Peer,
    reach: Reach::OnePeer,
    there: &["tunnel-one-way"],
    breaks: |plan, site| {
        let (victim, peer) = pair(plan, site);
        let (end, overlay) = (peer.end(site.family), plan.overlay(site.family));
        let line = format!("fdb del {} dev {overlay} dst {} self", end.vtep_mac, end.ip);
        vec![Script::bridge(&victim.namespace, [line])]
    },
    heals: |plan, site| {
        let (victim, peer) = pair(plan, site);
        vec![Script::bridge(&victim.namespace, [flannel::fdb_entry(plan, peer, site.family)])]
    },
    ..PLAIN
}];
