//! The nodes of peers as the uplinks know them: where a peer's packets go, and whether that address
//! answers ARP or neighbour discovery.

use std::net::IpAddr;

use super::case::Case;
use crate::{
    evidence::{
        Link, Neighbour, NeighbourState, Origin, PeerTraffic, Route, RouteOutcome, StagePair,
        Tables,
    },
    topology::{Peer, leaves_by},
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

/// A node to which the kernel has no way.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoWay<'a> {
    /// Its address.
    pub(super) node: IpAddr,
    /// What the kernel would do with a tunnel packet for it.
    pub(super) outcome: &'a RouteOutcome,
}

/// The node at which a peer's tunnel packets are aimed, when the kernel refuses them, or would put them
/// into the tunnel again, which it does not do either (udp_tunnel_dst_lookup in
/// net/ipv4/udp_tunnel_core.c and udp_tunnel6_dst_lookup in net/ipv6/ip6_udp_tunnel.c, Linux 6.18;
/// vxlan_get_route and vxlan6_get_route before). flannel binds the tunnel to a device and not its FDB
/// entries, so the routes of all devices count; but for uplinks of a VRF it has tables of its own, which
/// were not asked. Packets that pass prove the contrary.
pub(super) fn no_way<'a>(case: &Case<'a>, peer: &Peer<'_>) -> Option<NoWay<'a>> {
    let node = peer.overlay_route.and(peer.fdb)?.destination?;
    let tables = case.topology.tables?;
    let outcome = answer(tables, node).filter(|_| !has_vrf(tables))?;
    let overlay = case.topology.overlay?.index;
    let is_none = match outcome {
        RouteOutcome::Refused(_) => true,
        RouteOutcome::Route(Route { next_hops: hops, .. }) => {
            !hops.is_empty() && hops.iter().all(|hop| hop.ifindex == Some(overlay))
        }
    };
    let passes = peer.traffic.is_some_and(|it| it.packets.wire_out > it.early.wire_out);
    (is_none && !passes).then_some(NoWay { node, outcome })
}

fn has_vrf(tables: &Tables) -> bool {
    tables.links.iter().any(|link| link.kind.as_deref() == Some("vrf"))
}

/// What the kernel would do with a packet of its own to a node.
pub(super) fn answer(tables: &Tables, node: IpAddr) -> Option<&RouteOutcome> {
    let mut answers = tables.answers.iter();
    let answer = answers.find(|it| it.origin == Origin::Node && it.destination == node)?;
    Some(&answer.outcome)
}

/// A node that does not answer ARP or neighbour discovery.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unanswered<'a> {
    /// The uplink that asks.
    pub(super) uplink: &'a Link,
    /// What it has of the node.
    pub(super) entry: &'a Neighbour,
    /// Whether that was so before the window.
    pub(super) is_before: bool,
}

/// The node at which a peer's packets are aimed, when it does not answer: by the tables before the
/// window, or, where its MAC was given up while the window lasted, by those after it.
pub(super) fn unanswered<'a>(
    case: &Case<'a>,
    peer: &Peer<'_>,
    node: IpAddr,
) -> Option<Unanswered<'a>> {
    if let Some((uplink, entry)) = entry(case, node).filter(|(_, it)| is_unanswered(peer, it)) {
        return Some(Unanswered { uplink, entry, is_before: true });
    }
    let (uplink, entry) = entry_in(case, case.evidence.tables_after.as_ref()?, node)?;
    let is_asking = matches!(entry.state, NeighbourState::Incomplete | NeighbourState::Failed);
    let is_given_up = is_asking
        && case.observed_pair(StagePair::OverlayToWire)
        && peer.traffic.is_some_and(|it| loses_all(it) || loses_all_late(it));
    is_given_up.then_some(Unanswered { uplink, entry, is_before: false })
}

/// The neighbour entry for a node on an uplink before the window: there is one when it is on-link. Of
/// several uplinks that counts by which the kernel sends to it, or else one that has resolved it: on the
/// others an entry may be left over.
pub(super) fn entry<'a>(case: &Case<'a>, node: IpAddr) -> Option<(&'a Link, &'a Neighbour)> {
    entry_in(case, case.topology.tables?, node)
}

fn entry_in<'a>(
    case: &Case<'a>,
    tables: &'a Tables,
    node: IpAddr,
) -> Option<(&'a Link, &'a Neighbour)> {
    let is_way = |uplink: &&&Link| match answer(tables, node) {
        Some(RouteOutcome::Route(route)) => leaves_by(route, uplink.index),
        _ => true,
    };
    let uplinks = case.topology.uplinks.iter().rev().filter(is_way);
    let entries = uplinks.filter_map(|uplink| {
        let mut entries = tables.neighbours.iter();
        let entry = entries.find(|it| it.ifindex == uplink.index && it.address == node)?;
        Some((*uplink, entry))
    });
    entries.max_by_key(|(_, entry)| entry.state.is_valid())
}

/// The kernel gave up, or has been asking longer than an answer takes: by its clock, or because
/// packets of the peer were lost in both halves of the window while it asked.
fn is_unanswered(peer: &Peer<'_>, entry: &Neighbour) -> bool {
    let is_long = entry.updated_age.is_some_and(|age| age >= PATIENCE);
    match entry.state {
        NeighbourState::Failed => true,
        NeighbourState::Incomplete => is_long || peer.traffic.is_some_and(loses_all),
        _ => false,
    }
}

/// Packets were lost before the wire in both halves of the window, and none reached it.
const fn loses_all(traffic: &PeerTraffic) -> bool {
    let (lost, early) = (traffic.lost.overlay_to_wire, traffic.lost_early.overlay_to_wire);
    lost >= ENOUGH && early > 0 && lost > early && traffic.packets.wire_out == 0
}

/// Packets reached the wire in the first half of the window, and were all lost before it in the second.
const fn loses_all_late(traffic: &PeerTraffic) -> bool {
    let (lost, early) = (traffic.lost.overlay_to_wire, traffic.lost_early.overlay_to_wire);
    let (out, early_out) = (traffic.packets.wire_out, traffic.early.wire_out);
    early_out > 0 && out <= early_out && lost.saturating_sub(early) >= ENOUGH
}

/// By which protocol an address is resolved.
pub(super) const fn protocol(node: IpAddr) -> &'static str {
    match node {
        IpAddr::V4(_) => "ARP",
        IpAddr::V6(_) => "neighbour discovery",
    }
}
