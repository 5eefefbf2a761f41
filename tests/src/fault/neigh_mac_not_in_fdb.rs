//! A peer's neighbour entry carries a MAC that no FDB entry has: packets die in the overlay device.

use super::{Fault, PLAIN, pair};
use crate::{flannel, plan::Mac, script::Script};

/// A MAC that no plan draws.
const NOBODY: Mac = Mac([0x02, 0x00, 0x5e, 0x00, 0x53, 0xfe]);

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "neigh-mac-not-in-fdb",
    code: "neigh-mac-not-in-fdb",
    summary: "the neighbour entry of a peer's overlay address has a MAC that the FDB does not know",
    breaks: |plan, site| {
        let (victim, peer) = pair(plan, site);
        let line = flannel::neighbour_with(plan, peer, site.family, NOBODY);
        vec![Script::ip(&victim.namespace, [line])]
    },
    heals: |plan, site| {
        let (victim, peer) = pair(plan, site);
        vec![Script::ip(&victim.namespace, [flannel::neighbour(plan, peer, site.family)])]
    },
    ..PLAIN
}];
