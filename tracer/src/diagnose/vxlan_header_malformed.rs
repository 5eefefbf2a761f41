//! `vxlan-header-malformed`: tunnel packets of a peer have flags in their VXLAN header that this
//! node's device refuses.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    case::Case,
    finding::{Confidence, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
    sighted::{ENOUGH, lasting, peers_at, sightings, tunnel},
};
use crate::{
    evidence::{Sight, Sighting},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "vxlan-header-malformed",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

/// The flag without which a header has no VNI (RFC 7348, section 5).
const HAS_VNI: u32 = 1 << 27;
/// The flag of a header that carries a group policy (VXLAN_HF_GBP, include/net/vxlan.h).
const HAS_POLICY: u32 = 1 << 31;

fn judge(case: &Case<'_>) -> Ruling {
    // A device of others that takes its parameters from metadata has its own idea of a header.
    if case.working_overlay().is_none() || tunnel(case).is_none_or(|vxlan| vxlan.external) {
        return Ruling::default();
    }
    let sources = lasting(case, ENOUGH, |sighting| of(sighting).map(|(source, _)| source));
    let judged = sources.iter().flat_map(|(source, seen)| {
        peers_at(case, *source).map(|peer| judged(case, peer, *source, seen.packets))
    });
    Ruling::from(judged.collect::<Vec<_>>())
}

const fn of(sighting: &Sighting) -> Option<(IpAddr, u32)> {
    match sighting.what {
        Sight::BadHeader { source, flags } => Some((source, flags)),
        _ => None,
    }
}

fn judged(case: &Case<'_>, peer: &Peer<'_>, source: IpAddr, packets: u64) -> Judged {
    let (name, seconds) = (case.overlay_name(), case.evidence.window.seconds);
    let mut flags = BTreeMap::<u32, u64>::new();
    for sighting in sightings(case) {
        if let Some((_, word)) = of(sighting).filter(|(from, _)| *from == source) {
            *flags.entry(word).or_default() += sighting.packets;
        }
    }
    let mut evidence = vec![format!(
        "{packets} VXLAN packets from {source} in {seconds:.1} s have a header that {name} refuses"
    )];
    evidence.extend(flags.into_iter().map(|(word, packets)| {
        format!("{packets} of them begin with {word:#010x}: {}", meaning(word))
    }));
    Judged {
        finding: RULE.finding(
            format!("Tunnel packets of {} have a bad VXLAN header", peer.label()),
            case.about_peer(peer),
            case.in_window(),
            evidence,
            vec![
                format!(
                    "ip -d link show {name}      (here and on {}: `gbp` must be on both or on none)",
                    peer.short_name()
                ),
                "(else a device between them or a card's offloads damage packets: ethtool -k)"
                    .to_owned(),
            ],
        ),
        rank: RULE.rank,
        supports: std::collections::BTreeSet::new(),
        explains: Effect::between_tunnel_ends(peer.cidr).collect(),
        as_break: format!("VXLAN headers of {}", peer.cidr),
    }
}

const fn meaning(word: u32) -> &'static str {
    if word & HAS_VNI == 0 {
        "the flag that a VNI is there is clear"
    } else if word & HAS_POLICY != 0 {
        "it carries a group policy (GBP)"
    } else {
        "reserved bits are set"
    }
}
