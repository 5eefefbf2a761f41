//! Peers whose FDB entry names an address that no node has, by what flannel means it to hold, and
//! at which nobody answers.
//!
//! A node may have several addresses, and the address that flannel announces need not be the one
//! that a peers file names: NAT, a second card, `--node-external-ip`. So the disagreement alone is
//! no fault. It is one when packets die of it.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::Case,
    life,
    rule::Effect,
    silence::{is_silent, mostly_unanswered},
    underlay::{self, Unanswered, protocol},
};
use crate::{
    evidence::{PeerIntent, PeerTraffic, Stage, StagePair},
    topology::Peer,
};

/// A peer whose packets go where no node is.
pub(super) struct Misdirected<'c, 'a> {
    /// The peer.
    pub(super) peer: &'c Peer<'a>,
    /// What names its node.
    pub(super) intent: &'a PeerIntent,
    /// The address to which its packets go.
    pub(super) written: IpAddr,
    /// What shows that nobody is there; never empty.
    pub(super) signs: BTreeSet<Effect>,
    /// The same in words.
    pub(super) proof: Vec<String>,
    /// What shows that its node is where the intent says, while no tunnel packet comes from there:
    /// the node moved, and its tunnel did not.
    pub(super) moved: Option<String>,
}

/// All such peers, in the order of CIDRs.
pub(super) fn misdirected<'c, 'a>(case: &'c Case<'a>) -> Vec<Misdirected<'c, 'a>> {
    let proven = |it: Suspect<'c, 'a>| prove(case, it);
    suspects(case).filter_map(proven).collect()
}

/// A line for each peer of which two addresses are told while no packet tried the way.
pub(super) fn undecided(case: &Case<'_>) -> Vec<String> {
    let is_untried = |peer: &Peer<'_>| peer.traffic.is_none_or(|it| it.packets.overlay_out == 0);
    let untried = suspects(case).filter(|it| is_untried(it.peer) && prove(case, *it).is_none());
    untried
        .map(|Suspect { peer, intent, written }| {
            format!(
                "whether the node of {} is at {written}, as the FDB says, or at {}, as {} says: no \
                 packet of the window went there",
                peer.cidr, intent.node_ip, intent.source
            )
        })
        .collect()
}

/// A peer of which the FDB and the intent name different addresses, the FDB one of no known node.
#[derive(Clone, Copy)]
struct Suspect<'c, 'a> {
    peer: &'c Peer<'a>,
    intent: &'a PeerIntent,
    written: IpAddr,
}

fn suspects<'c, 'a>(case: &'c Case<'a>) -> impl Iterator<Item = Suspect<'c, 'a>> {
    let works = case.working_overlay().is_some();
    case.topology.peers.iter().filter(move |_| works).filter_map(|peer| {
        let (_, mac) = peer.overlay_route.and(peer.resolved())?;
        let written = peer.fdb.filter(|entry| entry.mac == mac)?.destination?;
        let intent = peer.intent.filter(|it| it.vtep_mac.is_none_or(|intended| intended == mac))?;
        let differ = written != intent.node_ip && !is_of_a_node(case, written);
        differ.then_some(Suspect { peer, intent, written })
    })
}

/// What shows that nobody is at the address that the FDB names.
fn prove<'c, 'a>(case: &'c Case<'a>, suspect: Suspect<'c, 'a>) -> Option<Misdirected<'c, 'a>> {
    let Suspect { peer, intent, written } = suspect;
    let found = [unresolved(case, peer, written), unanswered(case, peer)];
    let (signs, proof): (BTreeSet<Effect>, Vec<String>) = found.into_iter().flatten().unzip();
    let moved = peer.traffic.filter(|traffic| hears_nothing(case, traffic)).and_then(|_| {
        let life = life::of(case, peer);
        life.because.filter(|_| life.is_alive == Some(true))
    });
    (!signs.is_empty()).then_some(Misdirected { peer, intent, written, signs, proof, moved })
}

/// An address of this node, of a peer that is named, or one from which VXLAN comes.
fn is_of_a_node(case: &Case<'_>, address: IpAddr) -> bool {
    let is_named = || case.topology.intent.peers.iter().any(|peer| peer.node_ip == address);
    let speaks = || {
        let traffic = case.evidence.traffic.iter();
        let of_peers = traffic.clone().flat_map(|it| &it.peers).filter_map(|it| it.outer_source);
        let of_strangers = traffic.flat_map(|it| &it.strangers).map(|it| it.outer_source);
        of_peers.chain(of_strangers).any(|source| source == address)
    };
    case.topology.tables.is_some_and(|tables| tables.is_local(address)) || is_named() || speaks()
}

/// The uplink asks for the address, and nobody answers.
fn unresolved(case: &Case<'_>, peer: &Peer<'_>, written: IpAddr) -> Option<(Effect, String)> {
    let Unanswered { uplink, entry, .. } = underlay::unanswered(case, peer, written)?;
    let state = format!("{:?}", entry.state).to_uppercase();
    let words = format!(
        "nobody answers {} for {written}: the neighbour entry of {} is {state}",
        protocol(written),
        uplink.name
    );
    Some((Effect::NoAnswer(peer.cidr), words))
}

/// Packets that ask for an answer leave, and none comes.
fn unanswered(case: &Case<'_>, peer: &Peer<'_>) -> Option<(Effect, String)> {
    let traffic = peer.traffic.filter(|_| sees_all(case))?;
    let seconds = case.evidence.window.seconds;
    if is_silent(traffic) {
        let words = format!(
            "{} encapsulated packets left in {seconds:.1} s, none came back",
            traffic.packets.wire_out
        );
        return Some((Effect::Silence(peer.cidr), words));
    }
    let lost = mostly_unanswered(traffic)?;
    let words = format!(
        "{lost} packets that left encapsulated in {seconds:.1} s asked for an answer and got none"
    );
    Some((Effect::Loss(peer.cidr, StagePair::WireToPeer), words))
}

/// Nothing came out of the tunnel from the peer, and it would have been seen.
fn hears_nothing(case: &Case<'_>, traffic: &PeerTraffic) -> bool {
    sees_all(case) && traffic.packets.wire_in == 0 && traffic.packets.overlay_in == 0
}

fn sees_all(case: &Case<'_>) -> bool {
    [Stage::WireOut, Stage::WireIn, Stage::OverlayIn].into_iter().all(|stage| case.sees_all(stage))
}
