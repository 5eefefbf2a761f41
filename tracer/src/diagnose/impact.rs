//! What effects did in the window, in packets and flows.

use std::{collections::BTreeSet, net::SocketAddr};

use ipnet::IpNet;

use super::{case::Case, drops, finding::Impact, flow::followed, rule::Effect};
use crate::evidence::{Family, Flow, PeerTraffic, StagePair, Traffic, Untranslated};

/// The packets and flows of all IP versions that these effects hit; a lower bound.
pub(super) fn of(cases: &[Case<'_>], effects: &BTreeSet<Effect>) -> Impact {
    let dropped = drops::off_the_tunnels_way(cases, effects);
    let effects = &counted_once(effects);
    let Some(traffic) = cases.first().and_then(|case| case.evidence.traffic.as_ref()) else {
        return dropped;
    };
    let cidrs: BTreeSet<IpNet> = effects.iter().filter_map(Effect::cidr).collect();
    let of_peers: u64 = cidrs.iter().map(|cidr| packets_of(traffic, effects, *cidr)).sum();
    let stray = cases.iter().map(|it| it.topology.family).filter(|it| has_stray(effects, *it));
    let stray: u64 = stray.map(|family| stray_leaks_of(cases, traffic, family)).sum();
    let undelivered: u64 = effects.iter().map(|effect| undelivered(traffic, effect)).sum();
    let untranslated = untranslated(traffic, effects);
    let is_hit = |flow: &Flow| effects.iter().any(|effect| hits(cases, effect, flow));
    // A flow to a service that goes on under another name is one.
    let is_hit_as_followed = |flow: &Flow| {
        followed(flow, traffic)
            .is_some_and(|it| is_hit(&it.whole) && !it.continuation.is_some_and(is_hit))
    };
    let flows = traffic.flows.iter().filter(|flow| is_hit(flow) || is_hit_as_followed(flow));
    let flows = flows.count();
    Impact {
        packets: of_peers + stray + undelivered + dropped.packets + untranslated.packets,
        flows: flows as u64 + dropped.flows + untranslated.flows,
    }
}

/// Without what is the same packets again: those that died in a queue or were too big are counted as
/// they were dropped, and no answer came to them.
fn counted_once(effects: &BTreeSet<Effect>) -> BTreeSet<Effect> {
    let is_again = |effect: &Effect| match effect {
        Effect::Silence(cidr) | Effect::Loss(cidr, StagePair::WireToPeer) => {
            effects.contains(&Effect::Queued(*cidr))
        }
        Effect::Loss(cidr, StagePair::PodToOverlay) => effects.contains(&Effect::TooBig(*cidr)),
        _ => false,
    };
    effects.iter().filter(|effect| !is_again(effect)).copied().collect()
}

/// Packets that came for an address and reached no pod.
fn undelivered(traffic: &Traffic, effect: &Effect) -> u64 {
    let Effect::Undelivered(address) = effect else { return 0 };
    let of_peers = traffic.peers.iter().flat_map(|peer| &peer.undelivered);
    of_peers.filter(|it| it.address == *address).map(|it| it.packets).sum()
}

/// What went to addresses of services and was not translated.
fn untranslated(traffic: &Traffic, effects: &BTreeSet<Effect>) -> Impact {
    let is_hit = |it: &&Untranslated| {
        effects.contains(&Effect::ToService(SocketAddr::new(it.destination, it.port)))
    };
    let hit = || traffic.untranslated.iter().filter(is_hit);
    Impact { packets: hit().map(|it| it.packets).sum(), flows: hit().map(|it| it.flows).sum() }
}

fn has_stray(effects: &BTreeSet<Effect>, family: Family) -> bool {
    effects.contains(&Effect::StrayLeak(family))
}

/// The same of one IP version: exact where it is the only one, else what the listed flows tell.
pub(super) fn stray_leaks_of(cases: &[Case<'_>], traffic: &Traffic, family: Family) -> u64 {
    if cases.len() == 1 {
        return stray_leaks(cases, traffic);
    }
    let effect = Effect::StrayLeak(family);
    let flows = traffic.flows.iter().filter(|flow| hits(cases, &effect, flow));
    flows.map(|flow| flow.leaked).sum()
}

/// Packets for the pod network that left un-encapsulated for no known peer.
fn stray_leaks(cases: &[Case<'_>], traffic: &Traffic) -> u64 {
    let peers = cases.iter().flat_map(|case| &case.topology.peers);
    let of_peers = peers.map(|peer| leaked_to(traffic, peer.cidr));
    traffic.stages.leak.packets.saturating_sub(of_peers.sum())
}

/// Packets that leaked for a CIDR: exact for a peer that was known when the window began, else
/// what the listed flows tell.
fn leaked_to(traffic: &Traffic, cidr: IpNet) -> u64 {
    let known = traffic.peers.iter().find(|peer| peer.cidr == cidr);
    let of_flows = || {
        let flows = traffic.flows.iter().filter(|flow| cidr.contains(&flow.destination));
        flows.map(|flow| flow.leaked).sum()
    };
    known.map_or_else(of_flows, |peer| peer.leaked)
}

/// A packet that leaked was also lost between pod and overlay: it counts once.
fn packets_of(traffic: &Traffic, effects: &BTreeSet<Effect>, cidr: IpNet) -> u64 {
    let has = |effect: Effect| effects.contains(&effect);
    let leaked = if has(Effect::Leak(cidr)) { leaked_to(traffic, cidr) } else { 0 };
    let Some(peer) = traffic.peers.iter().find(|peer| peer.cidr == cidr) else { return leaked };
    let lost = |pair: StagePair| if has(Effect::Loss(cidr, pair)) { peer.lost.at(pair) } else { 0 };
    let unanswered = if has(Effect::Silence(cidr)) { unanswered(peer) } else { 0 };
    lost(StagePair::PodToOverlay).max(leaked)
        + lost(StagePair::OverlayToWire)
        + lost(StagePair::WireToOverlay)
        + lost(StagePair::OverlayToPod)
        + lost(StagePair::WireToPeer)
        + unanswered
}

fn unanswered(peer: &PeerTraffic) -> u64 {
    let silent = peer.packets.wire_in == 0 && peer.packets.overlay_in == 0;
    if silent { peer.asking_out.min(peer.packets.wire_out) } else { 0 }
}

/// Whether a flow is among what an effect happened to.
pub(super) fn hits(cases: &[Case<'_>], effect: &Effect, flow: &Flow) -> bool {
    let is_peers = |address| cases.iter().any(|case| case.topology.peer_of(address).is_some());
    let outward = |cidr: &IpNet| cidr.contains(&flow.destination);
    let inward = |cidr: &IpNet| cidr.contains(&flow.source);
    match effect {
        Effect::Leak(cidr) => outward(cidr) && flow.leaked > 0,
        Effect::StrayLeak(family) => {
            let is_its = Family::of(flow.destination) == *family;
            flow.leaked > 0 && is_its && !is_peers(flow.destination)
        }
        Effect::Loss(cidr, pair) => match pair {
            StagePair::PodToOverlay | StagePair::OverlayToWire | StagePair::WireToPeer => {
                outward(cidr) && falls(flow, *pair)
            }
            StagePair::WireToOverlay | StagePair::OverlayToPod => {
                inward(cidr) && falls(flow, *pair)
            }
        },
        Effect::Silence(cidr) => outward(cidr) && flow.packets.wire_out > 0,
        Effect::Undelivered(address) => {
            flow.destination == *address && falls(flow, StagePair::OverlayToPod)
        }
        Effect::Refused(_)
        | Effect::NoRoute(_)
        | Effect::NoDefaultRoute(_)
        | Effect::NoSourceAddress(_)
        | Effect::NoOverlay(_)
        | Effect::NoAnswer(_)
        | Effect::NoWay(_)
        | Effect::NoNeighbour(_)
        | Effect::NoFdb(_)
        | Effect::FlannelMemory
        | Effect::LargePods
        | Effect::DnsErrors(..)
        | Effect::LateAnswers(_)
        // What the table of connections knows of is counted with it.
        | Effect::ToService(_)
        | Effect::Unanswered(_)
        | Effect::ToVip(_)
        // What no stage misses is in the list of drops.
        | Effect::InPod(_)
        | Effect::AtPort(_)
        | Effect::ToNode(_)
        | Effect::Outside(_)
        | Effect::Queued(_)
        | Effect::Invalid(_)
        | Effect::TooBig(_) => false,
    }
}

/// The flow's numbers fall; of a flow born in the window only that nothing arrived counts.
fn falls(flow: &Flow, pair: StagePair) -> bool {
    let Some(next) = pair.next() else { return false };
    let (before, after) = (flow.packets.at(pair.last_seen()), flow.packets.at(next));
    if flow.born_in_window { before > 0 && after == 0 } else { before > after }
}
