//! What probably drops packets of peers, where the kernel does not let the headers of what it drops be
//! read (`lockdown=confidentiality`): then it tells by device how many packets were dropped and why,
//! and the stages tell whose packets are missing behind that device.
//!
//! That is no proof: others may have been dropped. So every packet that is lost must have been dropped
//! there. Of a packet filter, which drops for many reasons, whatever else may have taken them must not
//! have shown.

use super::{
    blocked::{filtered, lost_at},
    case::Case,
    dropped::{Dropped, Dropper, Told, lasting, told},
    firewall::Hit,
    rule::Rank,
    sighted::sightings,
};
use crate::{
    evidence::{Drop, DropPlace, Family, Link, Sight, SnmpCounters, StagePair},
    topology::Peer,
};

/// Less than any proof, so that whatever proves a cause explains it.
pub(super) const RANK: Rank = Rank::Told;

/// What drops packets between two stages, each on the same devices.
const DROPPERS: [Dropper; 3] = [Dropper::Firewall, Dropper::ReversePath, Dropper::Program];

/// EtherTypes of the IP versions.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// Whether drops were counted, but not whose they are.
pub(super) fn is_unread(case: &Case<'_>) -> bool {
    case.evidence.drops.as_ref().is_some_and(|drops| !drops.headers_read)
}

/// The peers whose packets end between two stages, where a packet filter drops as many.
pub(super) fn probable<'c, 'a>(case: &'c Case<'a>, pair: StagePair) -> Vec<Hit<'c, 'a>> {
    let dropped = filtered(case, |drop| is_there(case, pair, drop).then_some(())).remove(&());
    let is_alone = is_alone(case, pair, Dropper::Firewall) && !shows_another(case, pair);
    let dropped = dropped.filter(|_| is_alone);
    let is_meant = |peer: &Peer<'_>, lost| is_more_than_stray(peer, pair, lost);
    dropped.map_or_else(Vec::new, |dropped| missing_as_many(case, pair, &dropped, is_meant))
}

/// The same where something else drops them, on the devices that only pods' packets pass; nothing
/// where another drops there too.
pub(super) fn probable_by<'c, 'a>(
    case: &'c Case<'a>,
    pair: StagePair,
    dropper: Dropper,
) -> Vec<Hit<'c, 'a>> {
    let is_of_pods = matches!(pair, StagePair::PodToOverlay | StagePair::OverlayToPod);
    let dropped = by(case, pair, dropper).filter(|_| is_of_pods && is_alone(case, pair, dropper));
    dropped.map_or_else(Vec::new, |dropped| missing_as_many(case, pair, &dropped, |_, _| true))
}

/// Whether no other dropper drops anything there.
fn is_alone(case: &Case<'_>, pair: StagePair, dropper: Dropper) -> bool {
    DROPPERS.into_iter().all(|it| it == dropper || by(case, pair, it).is_none())
}

/// What one of the droppers drops between two stages, by its reason or by a function of its own.
fn by<'a>(case: &Case<'a>, pair: StagePair, dropper: Dropper) -> Option<Dropped<'a>> {
    let is_its = |drop: &Drop| match told(drop, dropper) {
        None | Some(Told::Perhaps) => false,
        // What other reasons of programs name is seen by neither stage, or by both.
        Some(_) => dropper != Dropper::Program || drop.reason.as_deref() == Some("TC_INGRESS"),
    };
    let is_meant = |drop: &Drop| is_its(drop) && is_there(case, pair, drop);
    lasting(case, |drop| is_meant(drop).then_some(())).remove(&())
}

/// The peers whose packets are lost between two stages, if as many were dropped.
fn missing_as_many<'c, 'a>(
    case: &'c Case<'a>,
    pair: StagePair,
    dropped: &Dropped<'a>,
    is_meant: impl Fn(&Peer<'_>, u64) -> bool,
) -> Vec<Hit<'c, 'a>> {
    let is_of_peer = |peer: &&Peer<'_>| peer.is_known() && peer.direct.is_none();
    let peers = case.topology.peers.iter().filter(is_of_peer);
    let losing = peers.filter_map(|peer| Some((peer, lost_at(case, peer, pair)?)));
    let losing: Vec<(&Peer<'_>, u64)> =
        losing.filter(|(peer, lost)| is_meant(peer, *lost)).collect();
    let lost: u64 = losing.iter().map(|(_, lost)| lost).sum();
    let hit = losing.into_iter().filter(|_| dropped.packets >= lost);
    hit.map(|(peer, _)| Hit { peer, pair, dropped: dropped.clone() }).collect()
}

/// Filters of healthy nodes drop a few forwarded packets all day, those that belong to no connection:
/// only of most of them is it a block, as long as nobody sees which they are.
fn is_more_than_stray(peer: &Peer<'_>, pair: StagePair, lost: u64) -> bool {
    let is_forwarded = matches!(pair, StagePair::PodToOverlay | StagePair::OverlayToPod);
    let came = peer.traffic.map_or(0, |it| it.packets.at(pair.last_seen()));
    !is_forwarded || lost * 2 >= came
}

/// Whether packets between these stages are at this device when they are dropped.
fn is_there(case: &Case<'_>, pair: StagePair, drop: &Drop) -> bool {
    let topology = &case.topology;
    let uplinks = topology.uplinks.iter().copied();
    let devices: Vec<&Link> = match pair {
        StagePair::PodToOverlay => Vec::from_iter(topology.bridge),
        StagePair::OverlayToPod => Vec::from_iter(topology.overlay),
        StagePair::WireToOverlay => uplinks.collect(),
        StagePair::OverlayToWire => uplinks.chain(topology.overlay).collect(),
        StagePair::WireToPeer => Vec::new(),
    };
    let ethertype = match topology.family {
        Family::V4 => IPV4,
        Family::V6 => IPV6,
    };
    let is_at = |name: &str| devices.iter().any(|link| link.name == name);
    drop.place == DropPlace::Node
        && drop.ethertype == ethertype
        && drop.interface.as_deref().is_some_and(is_at)
}

/// Whether something was seen that takes packets there too, or could not be looked for.
fn shows_another(case: &Case<'_>, pair: StagePair) -> bool {
    let statistics = case.evidence.statistics.as_ref();
    let Some(snmp) = statistics.and_then(|it| it.snmp) else { return true };
    let SnmpCounters {
        ip_fragment_fails,
        ip_out_no_routes,
        ip_reassembly_fails,
        udp_no_ports,
        udp_in_checksum_errors,
        tcp_ext_reverse_path_filter,
        ..
    } = snmp;
    let is_odd = |sight: &Sight| {
        matches!(sight, Sight::OtherVni { .. } | Sight::BadHeader { .. } | Sight::OwnMac { .. })
    };
    match pair {
        StagePair::WireToOverlay => {
            let errors = udp_no_ports + udp_in_checksum_errors + ip_reassembly_fails;
            errors + tcp_ext_reverse_path_filter > 0
                || sightings(case).any(|sighting| is_odd(&sighting.what))
        }
        StagePair::OverlayToWire => ip_fragment_fails + ip_out_no_routes > 0,
        StagePair::PodToOverlay => {
            let leaks = |peer: &Peer<'_>| peer.traffic.is_some_and(|it| it.leaked > 0);
            case.topology.peers.iter().any(leaks)
        }
        StagePair::OverlayToPod | StagePair::WireToPeer => {
            let is_for_another = |sight: &Sight| matches!(sight, Sight::OtherMac { .. });
            tcp_ext_reverse_path_filter > 0
                || sightings(case).any(|sighting| is_for_another(&sighting.what))
        }
    }
}
