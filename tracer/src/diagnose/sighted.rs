//! Packets that tell by themselves what is wrong, and whose they are.

use std::{collections::BTreeMap, net::IpAddr};

use super::case::Case;
use crate::{
    evidence::{IcmpError, MacAddress, Sight, Sighting, Vxlan},
    topology::Peer,
};

/// How many packets must have been seen before they mean something.
pub(super) const ENOUGH: u64 = 3;
/// How many ICMP errors: a kernel sends one a second to each host at most.
pub(super) const ENOUGH_ERRORS: u64 = 2;
/// UDP (IANA's protocol numbers).
pub(super) const UDP: u8 = 17;

/// How often something was seen.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Seen {
    /// Packets in the window.
    pub(super) packets: u64,
    /// Packets until the read in the middle.
    early: u64,
}

/// How a host refuses a packet by an ICMP error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nothing listens at the port, or a firewall says so.
    Port,
    /// A firewall forbids it.
    Prohibited,
}

impl Seen {
    /// So many packets, and some in both halves of the window: it holds on.
    const fn lasts(self, least: u64) -> bool {
        self.packets >= least && self.early > 0 && self.packets > self.early
    }
}

/// Everything that was seen.
pub(super) fn sightings<'a>(case: &Case<'a>) -> impl Iterator<Item = &'a Sighting> {
    case.evidence.traffic.iter().flat_map(|traffic| &traffic.sightings)
}

/// What was seen, by what `name` makes of it, as far as it holds on.
pub(super) fn lasting<'a, K: Ord>(
    case: &Case<'a>,
    least: u64,
    name: impl Fn(&'a Sighting) -> Option<K>,
) -> BTreeMap<K, Seen> {
    let mut found = BTreeMap::<K, Seen>::new();
    for (name, sighting) in sightings(case).filter_map(|it| Some((name(it)?, it))) {
        let seen = found.entry(name).or_default();
        seen.packets += sighting.packets;
        seen.early += sighting.early;
    }
    found.retain(|_, seen| seen.lasts(least));
    found
}

/// ICMP errors of the same words about the same flow, as far as they hold on.
pub(super) fn lasting_errors(
    case: &Case<'_>,
    is_meant: impl Fn(&IcmpError) -> bool,
) -> BTreeMap<IcmpError, Seen> {
    lasting(case, ENOUGH_ERRORS, |sighting| error_of(sighting).filter(&is_meant))
}

/// The ICMP error that was seen.
pub(super) const fn error_of(sighting: &Sighting) -> Option<IcmpError> {
    match sighting.what {
        Sight::IcmpError(error) => Some(error),
        _ => None,
    }
}

/// The peers whose tunnel end is at a node address.
pub(super) fn peers_at<'c, 'a>(
    case: &'c Case<'a>,
    node: IpAddr,
) -> impl Iterator<Item = &'c Peer<'a>> {
    let peers = case.topology.peers.iter().filter(|peer| peer.is_known() && peer.direct.is_none());
    peers.filter(move |peer| peer.node_ip == Some(node))
}

/// The peers whose tunnel packets from this node are refused by ICMP errors that `is_meant`, with the
/// error and its packets.
pub(super) fn refused_tunnels<'c, 'a>(
    case: &'c Case<'a>,
    is_meant: impl Fn(&IcmpError) -> bool,
) -> Vec<(&'c Peer<'a>, IcmpError, u64)> {
    let mut refused = Vec::new();
    if case.working_overlay().is_none() {
        return refused;
    }
    let errors = lasting_errors(case, |error| is_meant(error) && is_of_tunnel(case, error));
    for (error, seen) in errors {
        let peers = peers_sent_to(case, error.quoted.destination);
        refused.extend(peers.map(|peer| (peer, error, seen.packets)));
    }
    refused
}

/// The peers whose packets the FDB sends to a node address.
fn peers_sent_to<'c, 'a>(case: &'c Case<'a>, node: IpAddr) -> impl Iterator<Item = &'c Peer<'a>> {
    let peers = case.topology.peers.iter().filter(|peer| peer.overlay_route.is_some());
    peers.filter(move |peer| peer.fdb.is_some_and(|entry| entry.destination == Some(node)))
}

/// Whether anything came from a peer that its tunnel end here took for its own.
pub(super) fn is_heard(peer: &Peer<'_>) -> bool {
    peer.traffic.is_some_and(|it| it.packets.wire_in > 0 || it.packets.overlay_in > 0)
}

/// Whether neither this node, nor a table, nor a list has a MAC.
pub(super) fn is_unknown_mac(case: &Case<'_>, mac: MacAddress) -> bool {
    let is_own = case.topology.overlay.is_some_and(|overlay| overlay.mac == Some(mac));
    let mut intended = case.evidence.intent.peers.iter();
    !is_own
        && !case.topology.overlay_fdb().any(|entry| entry.mac == mac)
        && !case.topology.overlay_neighbours().any(|entry| entry.mac == Some(mac))
        && !intended.any(|intent| intent.vtep_mac == Some(mac))
}

/// The settings of the overlay device.
pub(super) fn tunnel<'a>(case: &Case<'a>) -> Option<&'a Vxlan> {
    case.topology.overlay?.vxlan.as_ref()
}

/// Whether an ICMP error is about a tunnel packet of this node.
pub(super) fn is_of_tunnel(case: &Case<'_>, error: &IcmpError) -> bool {
    let quoted = &error.quoted;
    quoted.protocol == UDP
        && tunnel(case).is_some_and(|vxlan| vxlan.port == quoted.destination_port)
        && case.topology.tables.is_some_and(|tables| tables.is_local(quoted.source))
}

/// How a host refuses; `None` for errors that routers and hosts send for other reasons.
pub(super) const fn refusal(error: &IcmpError) -> Option<Refusal> {
    match (error.sender, error.kind, error.code) {
        (IpAddr::V4(_), 3, 3) | (IpAddr::V6(_), 1, 4) => Some(Refusal::Port),
        (IpAddr::V4(_), 3, 9 | 10 | 13) | (IpAddr::V6(_), 1, 1 | 5 | 6) => {
            Some(Refusal::Prohibited)
        }
        _ => None,
    }
}

/// An ICMP error in words.
pub(super) fn words(error: &IcmpError) -> String {
    let protocol = if error.sender.is_ipv4() { "ICMP" } else { "ICMPv6" };
    let what = match refusal(error) {
        Some(Refusal::Port) => "port unreachable",
        Some(Refusal::Prohibited) => "prohibited",
        None => "unreachable",
    };
    format!("{protocol} {}/{} ({what})", error.kind, error.code)
}
