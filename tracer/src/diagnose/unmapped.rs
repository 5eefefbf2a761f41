//! Peers whose neighbour entry carries a MAC that is no key of the overlay's FDB, and which of the
//! two entries is the wrong one.

use std::{collections::BTreeSet, net::IpAddr};

use super::case::Case;
use crate::{
    evidence::{FdbEntry, Link, MacAddress, Neighbour, Tables},
    topology::Peer,
};

/// A peer whose packets find no tunnel end.
pub(super) struct Unmapped<'c, 'a> {
    /// The peer.
    pub(super) peer: &'c Peer<'a>,
    /// Its neighbour entry.
    pub(super) neighbour: &'a Neighbour,
    /// The MAC that this entry carries.
    pub(super) mac: MacAddress,
    /// Which entry is wrong.
    pub(super) wrong: Wrong<'a>,
}

/// Which entry of a peer is wrong.
pub(super) enum Wrong<'a> {
    /// There is no FDB entry for the peer.
    Fdb,
    /// The neighbour entry does not carry the MAC of the peer's FDB entry, which is one of these.
    Neighbour(Vec<&'a FdbEntry>),
    /// Other peers may be those of the FDB entries that are left over.
    Unknown,
}

/// All such peers, in the order of CIDRs.
pub(super) fn unmapped<'c, 'a>(case: &'c Case<'a>) -> Vec<Unmapped<'c, 'a>> {
    let Some((tables, overlay)) = case.working_overlay() else { return Vec::new() };
    if floods_or_learns(tables, overlay) {
        return Vec::new();
    }
    let orphans = orphans(case);
    let keys: BTreeSet<MacAddress> = case.topology.overlay_fdb().map(|entry| entry.mac).collect();
    let claims = |peer: &Peer<'_>| -> Vec<&'a FdbEntry> {
        orphans.iter().copied().filter(|orphan| may_be_of(peer, orphan)).collect()
    };
    let routed = || case.topology.peers.iter().filter(|peer| peer.overlay_route.is_some());
    let claimants =
        routed().filter(|peer| is_without_entry(peer, &keys) && !claims(peer).is_empty()).count();
    let enough = claimants + doubles(case) <= orphans.len();
    routed()
        .filter_map(|peer| {
            let (neighbour, mac) = peer.resolved()?;
            (!keys.contains(&mac)).then(|| {
                let claims = if is_right(peer, mac) { Vec::new() } else { claims(peer) };
                let sure = enough || claims.iter().any(|claim| is_right(peer, claim.mac));
                let wrong = match claims.as_slice() {
                    [] => Wrong::Fdb,
                    _ if sure => Wrong::Neighbour(claims),
                    _ => Wrong::Unknown,
                };
                Unmapped { peer, neighbour, mac, wrong }
            })
        })
        .collect()
}

/// FDB entries that no neighbour uses, but for old ones of peers that have a newer. Each may be
/// that of a peer whose neighbour entry is wrong.
pub(super) fn orphans<'a>(case: &Case<'a>) -> Vec<&'a FdbEntry> {
    let carried: BTreeSet<MacAddress> =
        case.topology.overlay_neighbours().filter_map(|neighbour| neighbour.mac).collect();
    let in_use = |entry: &&FdbEntry| carried.contains(&entry.mac);
    let used: BTreeSet<Option<IpAddr>> =
        case.topology.overlay_fdb().filter(in_use).map(|entry| entry.destination).collect();
    case.topology
        .overlay_fdb()
        .filter(|entry| !in_use(entry) && !used.contains(&entry.destination))
        .collect()
}

/// The device finds its own way without an entry for the MAC.
fn floods_or_learns(tables: &Tables, overlay: &Link) -> bool {
    let by_settings = overlay.vxlan.as_ref().is_none_or(|vxlan| vxlan.learning || vxlan.external);
    by_settings
        || tables.fdb.iter().any(|entry| {
            entry.ifindex == overlay.index
                && entry.mac == MacAddress::ZERO
                && entry.destination.is_some()
        })
}

/// No FDB entry is found by the peer's neighbour entry.
fn is_without_entry(peer: &Peer<'_>, keys: &BTreeSet<MacAddress>) -> bool {
    peer.resolved().is_none_or(|(_, mac)| !is_right(peer, mac) && !keys.contains(&mac))
}

/// A peers file names this MAC, or the peer's own packets carry it.
fn is_right(peer: &Peer<'_>, mac: MacAddress) -> bool {
    let intended = peer.intent.and_then(|intent| intent.vtep_mac);
    let seen = peer.traffic.and_then(|traffic| traffic.inner_source_mac);
    intended == Some(mac) || seen == Some(mac)
}

/// Nothing says that the peer's node is another than that of the entry.
fn may_be_of(peer: &Peer<'_>, orphan: &FdbEntry) -> bool {
    let intended = peer.intent.map(|intent| intent.node_ip);
    let seen = peer.traffic.and_then(|traffic| traffic.outer_source);
    let node = intended.or(seen);
    node.is_none() || node == orphan.destination
}

/// How many peers share the MAC of their neighbour entry with another: what their own FDB entry
/// was is left over too.
fn doubles(case: &Case<'_>) -> usize {
    let macs: Vec<MacAddress> =
        case.topology.peers.iter().filter_map(|peer| Some(peer.resolved()?.1)).collect();
    let distinct: BTreeSet<&MacAddress> = macs.iter().collect();
    macs.len() - distinct.len()
}
