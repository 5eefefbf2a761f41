//! `unexplained-loss`: packets of a peer die between two stages of this node, or beyond its uplink,
//! by no known cause.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::{PeerTraffic, Stage, StagePair},
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
            if is_lossy(traffic, pair) && !by_design {
                judged.push(loss(case, peer, lost_here(case, traffic, pair), pair));
            }
        }
        if is_lossy(traffic, StagePair::WireToPeer) && is_heard(case, traffic) {
            let evidence = unanswered(case, traffic);
            judged.push(loss(case, peer, evidence, StagePair::WireToPeer));
        }
    }
    Ruling::from(judged)
}

/// Something comes from the peer; silence altogether is `tunnel-one-way`.
fn is_heard(case: &Case<'_>, traffic: &PeerTraffic) -> bool {
    case.observed(Stage::WireIn) && traffic.packets.wire_in > 0
}

/// Packets were lost until the read in the middle, and more after it.
const fn is_lossy(traffic: &PeerTraffic, pair: StagePair) -> bool {
    let (lost, early) = (traffic.lost.at(pair), traffic.lost_early.at(pair));
    lost >= ENOUGH && early >= 1 && lost > early
}

fn lost_here(case: &Case<'_>, traffic: &PeerTraffic, pair: StagePair) -> String {
    format!(
        "{} of {} packets seen at {} did not reach {} in {:.1} s; no table explains it",
        traffic.lost.at(pair),
        traffic.packets.at(pair.last_seen()),
        pair.last_seen().name(),
        pair.next().map_or("the peer", |stage| stage.name()),
        case.evidence.window.seconds
    )
}

fn unanswered(case: &Case<'_>, traffic: &PeerTraffic) -> String {
    format!(
        "{} of {} packets that left encapsulated in {:.1} s belong to flows that asked all the time \
         and got no answer, while {} packets of other flows came from there",
        traffic.lost.wire_to_peer,
        traffic.packets.wire_out,
        case.evidence.window.seconds,
        traffic.packets.wire_in
    )
}

fn loss(case: &Case<'_>, peer: &Peer<'_>, evidence: String, pair: StagePair) -> Judged {
    let cidr = peer.cidr;
    let last = pair.last_seen().name();
    Judged {
        finding: RULE.finding(
            format!("Packets of {} are lost after {last}", peer.label()),
            case.about_peer(peer),
            case.in_window(),
            vec![evidence],
            vec![to_check(case, peer, pair)],
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::Loss(cidr, pair)]),
        explains: BTreeSet::from([Effect::Loss(cidr, pair)]),
        as_break: format!("packets of {cidr} after {last}"),
    }
}

/// Where to look next.
fn to_check(case: &Case<'_>, peer: &Peer<'_>, pair: StagePair) -> String {
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
        StagePair::OverlayToPod => format!(
            "(check `nft list ruleset` (hook forward), the MAC that the peer uses for {overlay}, and \
             `sysctl net.ipv4.conf.all.rp_filter`)"
        ),
        StagePair::WireToPeer => format!(
            "flannel-tracer check      (on {}: its pods, their bridge or a firewall there)",
            peer.short_name()
        ),
    }
}
