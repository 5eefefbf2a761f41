//! Packets of peers that the kernel drops between two stages for a reason that it also counts: told
//! by its drops, and where these cannot be read by its counter. The stages have to say the same.

use ipnet::IpNet;

use super::{
    case::Case,
    dropped::{Dropped, Dropper, Told, Way, lasting, told, way},
    missing::missed,
};
use crate::{
    evidence::{Drop, SnmpCounters, StagePair},
    topology::Peer,
};

/// What shows that packets of peers were dropped for one reason.
pub(super) struct Sign {
    /// What drops them.
    pub(super) dropper: Dropper,
    /// Between which stages.
    pub(super) pair: StagePair,
    /// The kernel's counter of it.
    pub(super) counter: fn(&SnmpCounters) -> u64,
    /// What `nstat` calls that counter.
    pub(super) counter_name: &'static str,
    /// The peer that a dropped packet came from, when it was dropped on this way.
    pub(super) from: fn(&Case<'_>, &Drop) -> Option<IpNet>,
}

/// A peer whose packets were dropped.
pub(super) struct Counted<'c, 'a> {
    /// The peer.
    pub(super) peer: &'c Peer<'a>,
    /// Whether the kernel named the packets; else its counter rose as they were missed.
    pub(super) is_named: bool,
    /// What shows it.
    pub(super) evidence: Vec<String>,
}

/// The peers whose packets were dropped so in the whole window.
pub(super) fn losses<'c, 'a>(case: &'c Case<'a>, sign: &Sign) -> Vec<Counted<'c, 'a>> {
    let are_read = case.evidence.drops.as_ref().is_some_and(|drops| drops.headers_read);
    if are_read { by_drops(case, sign) } else { by_counter(case, sign) }
}

/// Whether the stages miss what was dropped between them, as far as they were observed.
pub(super) fn agree(case: &Case<'_>, peer: &Peer<'_>, pair: StagePair) -> bool {
    !case.observed_pair(pair) || missed(case, peer, pair).is_some()
}

/// The peer whose encapsulated packet was dropped on this node before it was unpacked.
pub(super) fn at_tunnel_end(case: &Case<'_>, drop: &Drop) -> Option<IpNet> {
    match way(case, drop)? {
        Way::TunnelIn(cidr) => Some(cidr),
        _ => None,
    }
}

/// The peer whose packet for a pod of this node was dropped as it came out of the tunnel.
pub(super) fn out_of_tunnel(case: &Case<'_>, drop: &Drop) -> Option<IpNet> {
    let (tables, overlay) = (case.topology.tables?, case.topology.overlay?);
    let destination = drop.flow?.destination;
    let is_for_pod = case.topology.is_own(destination) && !tables.is_local(destination);
    match way(case, drop)? {
        Way::In(cidr) if is_for_pod && drop.interface.as_ref() == Some(&overlay.name) => Some(cidr),
        _ => None,
    }
}

/// What was dropped, where and by whose word.
pub(super) fn told_of(dropped: &Dropped<'_>, seconds: f64) -> String {
    format!("{} packets were dropped in {seconds:.1} s: {}", dropped.packets, dropped.by())
}

fn by_drops<'c, 'a>(case: &'c Case<'a>, sign: &Sign) -> Vec<Counted<'c, 'a>> {
    let is_meant = |drop: &Drop| told(drop, sign.dropper).is_some();
    let found = lasting(case, |drop| (sign.from)(case, drop).filter(|_| is_meant(drop)));
    let risen = risen(case, sign);
    let counted = found.into_iter().filter_map(|(cidr, dropped)| {
        let peer = case.topology.peer(cidr).filter(|peer| agree(case, peer, sign.pair))?;
        let perhaps = |drop: &&Drop| told(drop, sign.dropper) == Some(Told::Perhaps);
        // A packet that the kernel counts once may be several segments.
        let is_sure = !dropped.drops.iter().any(perhaps) || risen * 2 >= dropped.packets;
        let mut evidence = vec![told_of(&dropped, case.evidence.window.seconds)];
        evidence.extend(of_stages(case, peer, sign));
        evidence.extend(of_counter(sign, risen));
        is_sure.then_some(Counted { peer, is_named: true, evidence })
    });
    counted.collect()
}

/// Each packet that was missed must have been counted, or something else took it.
fn by_counter<'c, 'a>(case: &'c Case<'a>, sign: &Sign) -> Vec<Counted<'c, 'a>> {
    let risen = risen(case, sign);
    let missing = |peer: &Peer<'_>| missed(case, peer, sign.pair).unwrap_or(0);
    let all: u64 = case.topology.peers.iter().map(missing).sum();
    if risen < all {
        return Vec::new();
    }
    let hit = case.topology.peers.iter().filter(|peer| missing(peer) > 0);
    let counted = hit.map(|peer| {
        let lines = of_stages(case, peer, sign).into_iter().chain(of_counter(sign, risen));
        Counted { peer, is_named: false, evidence: lines.collect() }
    });
    counted.collect()
}

fn risen(case: &Case<'_>, sign: &Sign) -> u64 {
    let statistics = case.evidence.statistics.as_ref();
    statistics.and_then(|it| it.snmp.as_ref()).map_or(0, sign.counter)
}

fn of_stages(case: &Case<'_>, peer: &Peer<'_>, sign: &Sign) -> Option<String> {
    let (lost, next) = (missed(case, peer, sign.pair)?, sign.pair.next()?);
    let last = sign.pair.last_seen();
    let seen = peer.traffic?.packets.at(last);
    Some(format!("{lost} of {seen} packets seen at {} did not reach {}", last.name(), next.name()))
}

fn of_counter(sign: &Sign, risen: u64) -> Option<String> {
    (risen > 0).then(|| format!("the kernel counted {risen} ({})", sign.counter_name))
}
