//! `unexplained-loss`: packets of a peer die between two stages of this node, or beyond its uplink,
//! by no known cause.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    firewall::perhaps_forbidden_anywhere,
    missing::is_lossy,
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
    silence::is_silent,
};
use crate::{
    evidence::{Family, PeerTraffic, Stage, StagePair},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "unexplained-loss",
    severity: Severity::Warning,
    confidence: Confidence::Likely,
    rank: Rank::Inferred,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let mut ruling = Ruling::default();
    for peer in case.topology.peers.iter().filter(|peer| peer.is_known()) {
        let Some(traffic) = peer.traffic else { continue };
        for pair in StagePair::LOCAL.into_iter().chain([StagePair::WireToPeer]) {
            let lost = unaccounted(case, traffic, pair);
            if !is_judged(case, peer, traffic, pair) || !is_lossy(traffic, pair, lost) {
                continue;
            }
            let why = || {
                let after = pair.last_seen().name();
                format!("why {lost} packets of {} ended after {after}", peer.label())
            };
            match perhaps_forbidden_anywhere(case, why).filter(|_| can_be_forbidden(pair)) {
                Some(line) => ruling.unseen.push(line),
                None => {
                    let supports = supports(peer, traffic, pair, lost);
                    let told = told(case, traffic, pair, lost);
                    ruling.judged.push(loss(case, peer, told, pair, supports));
                }
            }
        }
    }
    ruling
}

/// Whether a pair can be judged: both ends were observed and packets of the peer go that way.
/// When nothing at all comes from a peer, several of whose addresses were asked, that is
/// `tunnel-one-way`.
fn is_judged(case: &Case<'_>, peer: &Peer<'_>, traffic: &PeerTraffic, pair: StagePair) -> bool {
    let goes_there = match pair {
        StagePair::PodToOverlay => peer.direct.is_none(),
        StagePair::WireToPeer => {
            case.observed(Stage::WireIn) && (traffic.packets.wire_in > 0 || !is_silent(traffic))
        }
        _ => true,
    };
    let hidden = pair.next().is_some_and(|next| case.may_be_hidden(next));
    goes_there && !hidden && case.observed_pair(pair)
}

/// Lost packets less those whose end is known: sent to nobody, or seen to leave un-encapsulated.
fn unaccounted(case: &Case<'_>, traffic: &PeerTraffic, pair: StagePair) -> u64 {
    let known = match pair {
        StagePair::PodToOverlay => traffic.leaked,
        StagePair::OverlayToPod => {
            let to_nobody = traffic.undelivered.iter().filter(|it| !case.is_live_pod(it.address));
            to_nobody.map(|it| it.packets).sum()
        }
        _ => 0,
    };
    traffic.lost.at(pair).saturating_sub(known)
}

/// Whether a network policy can be the end of a packet there.
const fn can_be_forbidden(pair: StagePair) -> bool {
    matches!(pair, StagePair::PodToOverlay | StagePair::OverlayToPod | StagePair::WireToPeer)
}

/// The numbers, in words.
fn told(case: &Case<'_>, traffic: &PeerTraffic, pair: StagePair, lost: u64) -> String {
    let seconds = case.evidence.window.seconds;
    let seen = traffic.packets.at(pair.last_seen());
    match pair.next() {
        Some(next) => format!(
            "{lost} of {seen} packets seen at {} did not reach {} in {seconds:.1} s; no table \
             explains it",
            pair.last_seen().name(),
            next.name()
        ),
        None => format!(
            "{lost} of {seen} packets that left encapsulated in {seconds:.1} s belong to flows that \
             asked all the time and got no answer, while {} packets of other flows came from there",
            traffic.packets.wire_in
        ),
    }
}

/// Where answers are lost, conntrack calls what follows of a connection invalid, and kube-proxy has that
/// dropped (its chain KUBE-FORWARD): a smaller part of what pods send.
fn supports(peer: &Peer<'_>, traffic: &PeerTraffic, pair: StagePair, lost: u64) -> Effect {
    let is_smaller_part = lost.saturating_mul(2) < traffic.packets.at(pair.last_seen());
    if pair == StagePair::PodToOverlay && is_smaller_part {
        Effect::Invalid(peer.cidr)
    } else {
        Effect::Loss(peer.cidr, pair)
    }
}

fn loss(
    case: &Case<'_>,
    peer: &Peer<'_>,
    evidence: String,
    pair: StagePair,
    supports: Effect,
) -> Judged {
    let cidr = peer.cidr;
    let last = pair.last_seen().name();
    Judged {
        finding: RULE.finding(
            format!("Packets of {} are lost after {last}", peer.label()),
            case.about_peer(peer),
            case.in_window(),
            vec![evidence],
            [to_check(case, peer, pair)].into_iter().chain(to_try(case, peer, pair)).collect(),
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([supports]),
        explains: BTreeSet::from([Effect::Loss(cidr, pair)]),
        as_break: format!("packets of {cidr} after {last}"),
    }
}

/// What shows whether only large packets are lost beyond the uplink: no stage counts sizes by flow.
fn to_try(case: &Case<'_>, peer: &Peer<'_>, pair: StagePair) -> Option<String> {
    let (node_ip, link) = peer.way(case.topology.tables?)?;
    let headers = if node_ip.is_ipv4() { 20 + 8 } else { 40 + 8 };
    let most = link.mtu_of(Family::of(node_ip)).checked_sub(headers)?;
    (pair == StagePair::WireToPeer).then(|| {
        format!(
            "ping -M do -c 3 -s {most} {node_ip}      (unanswered, while `-s 1000` is answered: the MTU of \
             the path is smaller than that of {}, and full packets are lost on it; \
             `flannel-tracer check --probe` asks all peers, through the tunnel)",
            link.name
        )
    })
}

/// Where to look next.
fn to_check(case: &Case<'_>, peer: &Peer<'_>, pair: StagePair) -> String {
    let overlay = case.overlay_name();
    let uplinks: Vec<&str> = case.topology.uplinks.iter().map(|link| link.name.as_str()).collect();
    let uplinks = uplinks.join(" ");
    let ip = remedy::ip(case.topology.family);
    let (forwarding, counters, last) = match case.topology.family {
        Family::V4 => (
            "net.ipv4.ip_forward",
            "UdpInCsumErrors UdpNoPorts",
            "sysctl net.ipv4.conf.all.rp_filter",
        ),
        // The kernel has no such filter for IPv6.
        Family::V6 => {
            ("net.ipv6.conf.all.forwarding", "Udp6InCsumErrors Udp6NoPorts", "ip -6 neigh")
        }
    };
    match pair {
        StagePair::PodToOverlay => format!(
            "(check `nft list ruleset` (hook forward), `{ip} rule`, `{ip} route` and \
             `sysctl {forwarding}`)"
        ),
        StagePair::OverlayToWire => format!(
            "(check `bridge fdb show dev {overlay}`, `{ip} route get` of the node's address, `{ip} neigh` \
             of {uplinks}, and `nft list ruleset` (hooks output and postrouting))"
        ),
        StagePair::WireToOverlay => format!(
            "(check `nft list ruleset` (hook input), `ip -d link show {overlay}` (VNI, port) and \
             `nstat -az {counters}`)"
        ),
        StagePair::OverlayToPod => format!(
            "(check `nft list ruleset` (hook forward), the MAC that the peer uses for {overlay}, and \
             `{last}`)"
        ),
        StagePair::WireToPeer => format!(
            "flannel-tracer check      (on {}: its pods, their bridge or a firewall there)",
            peer.short_name()
        ),
    }
}
