//! The nodes of peers as the uplinks know them: where a peer's packets go, and whether that address
//! answers ARP or neighbour discovery.

use std::net::IpAddr;

use super::case::Case;
use crate::{
    evidence::{Link, Neighbour, NeighbourState},
    topology::Peer,
};

/// For how long, in seconds, an answer must be awaited. On a link it comes within milliseconds; with
/// steady traffic the kernel asks for 3 s, gives up for as long as no packet comes, and begins anew
/// (net/core/neighbour.c, Linux 6.18), so that the entry is seldom found FAILED.
pub(super) const PATIENCE: f64 = 0.5;
/// How many packets must be lost before it means something.
const ENOUGH: u64 = 3;

/// Where packets of the peer go: the FDB entry's node, with DirectRouting the route's.
pub(super) fn destination(peer: &Peer<'_>) -> Option<IpAddr> {
    let by_fdb = peer.overlay_route.and(peer.fdb).and_then(|entry| entry.destination);
    by_fdb.or_else(|| peer.direct?.next_hops.iter().find_map(|hop| hop.gateway))
}

/// The neighbour entry for a node on an uplink: there is one when it is on-link. Of several uplinks
/// one that has resolved it counts: on the others an entry may be left over.
pub(super) fn entry<'a>(case: &Case<'a>, node: IpAddr) -> Option<(&'a Link, &'a Neighbour)> {
    let uplinks = case.topology.uplinks.iter().rev();
    let entries = uplinks.filter_map(|uplink| {
        let mut entries = case.topology.tables?.neighbours.iter();
        let entry = entries.find(|it| it.ifindex == uplink.index && it.address == node)?;
        Some((*uplink, entry))
    });
    entries.max_by_key(|(_, entry)| entry.state.is_valid())
}

/// The kernel gave up, or has been asking longer than an answer takes: by its clock, or because
/// packets of the peer were lost in both halves of the window while it asked.
pub(super) fn is_unanswered(peer: &Peer<'_>, entry: &Neighbour) -> bool {
    let is_long = entry.updated_age.is_some_and(|age| age >= PATIENCE);
    let loses = peer.traffic.is_some_and(|traffic| {
        let (lost, early) = (traffic.lost.overlay_to_wire, traffic.lost_early.overlay_to_wire);
        lost >= ENOUGH && early > 0 && lost > early && traffic.packets.wire_out == 0
    });
    match entry.state {
        NeighbourState::Failed => true,
        NeighbourState::Incomplete => is_long || loses,
        _ => false,
    }
}

/// By which protocol an address is resolved.
pub(super) const fn protocol(node: IpAddr) -> &'static str {
    match node {
        IpAddr::V4(_) => "ARP",
        IpAddr::V6(_) => "neighbour discovery",
    }
}
