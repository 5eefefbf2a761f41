//! The uplink's neighbour entry for a peer's node has a MAC that nobody has: somebody wrote it by hand,
//! and the node got another card since. The switch carries the frames to everybody, and nobody takes
//! them. The peer goes on sending.

use super::{Fault, PLAIN, pair};
use crate::script::Script;

/// A MAC of no plan.
const NOBODYS: &str = "02:00:00:00:de:ad";

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "underlay-neighbour-wrong-mac",
    code: "underlay-neighbour-wrong-mac",
    summary: "the uplink's neighbour entry for a peer's node has a MAC that nobody has",
    ethernet_only: Some("there are no MACs"),
    breaks: |plan, site| {
        let (victim, peer) = pair(plan, site);
        let (ip, uplink) = (peer.ip.of(site.family), &victim.uplink);
        let line = format!("neigh replace {ip} lladdr {NOBODYS} dev {uplink} nud permanent");
        vec![Script::ip(&victim.namespace, [line])]
    },
    heals: |plan, site| {
        let (victim, peer) = pair(plan, site);
        let (ip, uplink) = (peer.ip.of(site.family), &victim.uplink);
        vec![Script::ip(&victim.namespace, [format!("neigh del {ip} dev {uplink}")])]
    },
    ..PLAIN
}];
