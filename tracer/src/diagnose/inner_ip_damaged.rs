//! `inner-ip-damaged`: packets that a peer sent through the tunnel have a wrong IP checksum when they
//! come out of it. IPv6 has no such checksum.

use std::collections::BTreeSet;

use super::{
    case::Case,
    counted::{Counted, Sign, losses, out_of_tunnel},
    dropped::Dropper,
    finding::{Confidence, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::evidence::{Family, StagePair};

pub(super) const RULE: Rule = Rule {
    code: "inner-ip-damaged",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

const SIGN: Sign = Sign {
    dropper: Dropper::IpChecksum,
    pair: StagePair::OverlayToPod,
    counter: |it| it.ip_in_checksum_errors,
    counter_name: "IpExtInCsumErrors",
    from: out_of_tunnel,
};

fn judge(case: &Case<'_>) -> Ruling {
    if case.working_overlay().is_none() || case.topology.family != Family::V4 {
        return Ruling::default();
    }
    let found = losses(case, &SIGN).into_iter();
    Ruling::from(found.map(|it| judged(case, it)).collect::<Vec<_>>())
}

fn judged(case: &Case<'_>, counted: Counted<'_, '_>) -> Judged {
    let Counted { peer, evidence, .. } = counted;
    let cidr = peer.cidr;
    let node = peer.short_name();
    let lost = Effect::Loss(cidr, StagePair::OverlayToPod);
    Judged {
        finding: RULE.finding(
            format!("Packets from pods of {} come out of the tunnel damaged", peer.label()),
            case.about_peer(peer),
            case.in_window(),
            evidence,
            vec![
                format!("ethtool -S DEVICE      (on {node}, its uplink: errors of the card)"),
                format!(
                    "(a card, its driver, or a machine between the nodes changes what {node} sends; \
                     the outer checksum did not tell: `ethtool -K DEVICE tx off` on {node} shows \
                     whether its offload does it)"
                ),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([lost]),
        explains: BTreeSet::from([lost]),
        as_break: format!("packets from pods of {cidr}, damaged"),
    }
}
