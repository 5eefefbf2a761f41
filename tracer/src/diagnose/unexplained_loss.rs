//! `unexplained-loss`: packets of a peer die between two stages of this node, by no known cause.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::{PeerTraffic, StagePair},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "unexplained-loss",
    severity: Severity::Warning,
    confidence: Confidence::Likely,
    rank: Rank::Live,
    judge,
};

/// How many packets must be lost before it means something.
const ENOUGH: u64 = 3;

fn judge(case: &Case<'_>) -> Ruling {
    let mut judged = Vec::new();
    for peer in case.topology.peers.iter().filter(|peer| peer.is_known()) {
        let Some(traffic) = peer.traffic else { continue };
        for pair in StagePair::LOCAL {
            let by_design = pair == StagePair::PodToOverlay && peer.direct.is_some();
            let hidden = pair.next().is_some_and(|next| case.may_be_hidden(next));
            if is_lossy(traffic, pair) && !by_design && !hidden {
                judged.push(loss(case, peer, traffic, pair));
            }
        }
    }
    Ruling::from(judged)
}

/// Packets were lost until the read in the middle, and more after it.
const fn is_lossy(traffic: &PeerTraffic, pair: StagePair) -> bool {
    let (lost, early) = (traffic.lost.at(pair), traffic.lost_early.at(pair));
    lost >= ENOUGH && early >= 1 && lost > early
}

fn loss(case: &Case<'_>, peer: &Peer<'_>, traffic: &PeerTraffic, pair: StagePair) -> Judged {
    let cidr = peer.cidr;
    let last = pair.last_seen().name();
    let lost = traffic.lost.at(pair);
    let seen = traffic.packets.at(pair.last_seen());
    let next = pair.next().map_or("the peer", |stage| stage.name());
    Judged {
        finding: RULE.finding(
            format!("Packets of {} are lost after {last}", peer.label()),
            case.about_peer(peer),
            case.in_window(),
            vec![format!(
                "{lost} of {seen} packets seen at {last} did not reach {next} in {:.1} s; no table \
                 explains it",
                case.evidence.window.seconds
            )],
            vec![to_check(case, pair)],
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::Loss(cidr, pair)]),
        explains: BTreeSet::from([Effect::Loss(cidr, pair)]),
        as_break: format!("packets of {cidr} after {last}"),
    }
}

/// Where to look next.
fn to_check(case: &Case<'_>, pair: StagePair) -> String {
    let overlay = case.overlay_name();
    let uplinks: Vec<&str> = case.topology.uplinks.iter().map(|link| link.name.as_str()).collect();
    let uplinks = uplinks.join(" ");
    match pair {
        StagePair::PodToOverlay => {
            "(check `nft list ruleset` (hook forward), `ip rule`, `ip route` and \
             `sysctl net.ipv4.ip_forward`)"
                .to_owned()
        }
        StagePair::OverlayToWire => format!(
            "(check `bridge fdb show dev {overlay}`, `ip neigh` of {uplinks}, and `nft list ruleset` \
             (hooks output and postrouting))"
        ),
        StagePair::WireToOverlay => format!(
            "(check `nft list ruleset` (hook input), `ip -d link show {overlay}` (VNI, port) and \
             `nstat -az UdpInCsumErrors UdpNoPorts`)"
        ),
        StagePair::OverlayToPod | StagePair::WireToPeer => format!(
            "(check `nft list ruleset` (hook forward), the MAC that the peer uses for {overlay}, and \
             `sysctl net.ipv4.conf.all.rp_filter`)"
        ),
    }
}
