//! Whether the node of a peer shows life, whatever becomes of its tunnel packets.
//!
//! Life is proven by what came from the node; that nothing was seen proves no death. A node is
//! called dead only when it was asked and did not answer, or a router says that it is not there.

use std::net::IpAddr;

use super::{
    case::Case,
    sighted::{error_of, is_of_tunnel, sightings},
    underlay::{PATIENCE, destination, protocol},
};
use crate::{
    evidence::{IcmpError, Link, Neighbour, NeighbourState, Sight, Sighting, Tables},
    topology::Peer,
};

/// For so long, in seconds, the kernel takes an answer of ARP or neighbour discovery for good at
/// most: base_reachable_time of 30 s by half more (net/core/neighbour.c, neigh_rand_reach_time,
/// Linux 6.18).
const LATELY: f64 = 45.0;
/// An entry that failed longer ago, in seconds, says nothing of now: the kernel keeps it.
const STILL: f64 = 60.0;

/// What is known of the life of a peer's node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Life {
    /// Alive, dead, or nothing tells.
    pub(super) is_alive: Option<bool>,
    /// What tells it, to follow "its node"; `None` when nothing does.
    pub(super) because: Option<String>,
}

/// The life of a peer's node, by the latest tables and by the packets of the window.
pub(super) fn of(case: &Case<'_>, peer: &Peer<'_>) -> Life {
    let told = by_packets(case, peer).or_else(|| by_neighbour(case, peer)).or_else(|| {
        let (error, sighting) = unreachable_by_router(case, peer)?;
        Some((false, told_by(&error, sighting)))
    });
    Life { is_alive: told.as_ref().map(|it| it.0), because: told.map(|it| it.1) }
}

/// Whatever was received from the node shows that it lives.
fn by_packets(case: &Case<'_>, peer: &Peer<'_>) -> Option<(bool, String)> {
    let node = peer.node_ip?;
    let is_its = |source: Option<IpAddr>| source.is_none_or(|source| source == node);
    if peer.traffic.is_some_and(|it| it.packets.wire_in > 0 && is_its(it.outer_source)) {
        return Some((true, "is alive: VXLAN came from it".to_owned()));
    }
    let is_from_it = |sighting: &&Sighting| sender(&sighting.what) == Some(node);
    sightings(case).find(is_from_it)?;
    Some((true, format!("is alive: packets came from {node}")))
}

/// What the kernel knows of its MAC, where it is on-link. What somebody wrote by hand is no
/// answer of the node, and an uplink without carrier hears of nobody.
fn by_neighbour(case: &Case<'_>, peer: &Peer<'_>) -> Option<(bool, String)> {
    let node = peer.node_ip?;
    let (uplink, entry) = latest_entry(case, node)?;
    let protocol = protocol(node);
    if is_unanswered(entry) {
        let why = format!("does not answer {protocol}, by which {} asks for it", uplink.name);
        return Some((false, why));
    }
    let is_asked_for = !matches!(entry.state, NeighbourState::Permanent | NeighbourState::NoArp);
    let confirmed = entry.confirmed_age.filter(|age| *age <= LATELY)?;
    (is_asked_for && entry.state.is_valid()).then(|| {
        let when = format!("{confirmed:.0} s before the tables were read");
        (true, format!("is alive: {} saw it confirmed by {protocol} {when}", uplink.name))
    })
}

/// The entry for a node on an uplink that works, in the latest tables; of several uplinks one that has
/// resolved it.
fn latest_entry<'a>(case: &Case<'a>, node: IpAddr) -> Option<(&'a Link, &'a Neighbour)> {
    let tables: &'a Tables = case.evidence.tables_after.as_ref().or(case.topology.tables)?;
    let uplinks = case.topology.uplinks.iter().filter_map(|uplink| tables.link(uplink.index));
    let entries = uplinks.filter(|uplink| uplink.up && uplink.lower_up).filter_map(|uplink| {
        let mut entries = tables.neighbours.iter();
        let entry = entries.find(|it| it.ifindex == uplink.index && it.address == node)?;
        Some((uplink, entry))
    });
    entries.max_by_key(|(_, entry)| entry.state.is_valid())
}

/// The kernel asked just now, longer than an answer takes. While it probes an entry that was good
/// it still sends by it (NUD_PROBE).
fn is_unanswered(entry: &Neighbour) -> bool {
    let since =
        |least: f64, most: f64| entry.updated_age.is_some_and(|age| (least..=most).contains(&age));
    match entry.state {
        NeighbourState::Incomplete | NeighbourState::Probe => since(PATIENCE, f64::MAX),
        NeighbourState::Failed => since(0.0, STILL),
        _ => false,
    }
}

/// A router on the way says that the address to which the peer's packets go cannot be reached.
fn unreachable_by_router<'a>(
    case: &Case<'a>,
    peer: &Peer<'_>,
) -> Option<(IcmpError, &'a Sighting)> {
    let node = destination(peer)?;
    sightings(case).find_map(|sighting| {
        let error = error_of(sighting)?;
        let is_about_it = error.quoted.destination == node && is_of_tunnel(case, &error);
        (is_about_it && is_host_unreachable(&error)).then_some((error, sighting))
    })
}

/// Network or host unreachable; for IPv6 no route, or address unreachable (RFC 792, RFC 4443).
const fn is_host_unreachable(error: &IcmpError) -> bool {
    match error.sender {
        IpAddr::V4(_) => matches!((error.kind, error.code), (3, 0 | 1)),
        IpAddr::V6(_) => matches!((error.kind, error.code), (1, 0 | 3)),
    }
}

fn told_by(error: &IcmpError, sighting: &Sighting) -> String {
    format!(
        "is not there: {} says so of {}, {} times (ICMP type {} code {})",
        error.sender, error.quoted.destination, sighting.packets, error.kind, error.code
    )
}

/// The node that sent a packet of this kind, as far as its outer header tells.
const fn sender(sight: &Sight) -> Option<IpAddr> {
    match sight {
        Sight::IcmpError(error) => Some(error.sender),
        Sight::OtherVni { source, .. }
        | Sight::OtherPort { source, .. }
        | Sight::BadHeader { source, .. }
        | Sight::OwnMac { source } => Some(*source),
        _ => None,
    }
}
