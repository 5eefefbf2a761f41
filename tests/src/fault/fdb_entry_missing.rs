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
        let (mac, ip, overlay) = (peer.vtep_mac, peer.ip, plan.overlay());
        let line = format!("fdb del {mac} dev {overlay} dst {ip} self");
        vec![Script::bridge(&victim.namespace, [line])]
    },
    heals: |plan, site| {
        let (victim, peer) = pair(plan, site);
        vec![Script::bridge(&victim.namespace, [flannel::fdb_entry(plan, peer)])]
    },
    ..PLAIN
}];
