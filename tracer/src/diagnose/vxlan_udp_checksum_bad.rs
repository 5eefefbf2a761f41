//! `vxlan-udp-checksum-bad`: the tunnel's packets from a peer have a wrong UDP checksum, and the
//! kernel drops them before they are unpacked. The node that sends them cannot tell.

use std::collections::BTreeSet;

use super::{
    case::Case,
    counted::{Counted, Sign, at_tunnel_end, losses},
    dropped::Dropper,
    finding::{Confidence, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::evidence::StagePair;

pub(super) const RULE: Rule = Rule {
    code: "vxlan-udp-checksum-bad",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

const SIGN: Sign = Sign {
    dropper: Dropper::UdpChecksum,
    pair: StagePair::WireToOverlay,
    counter: |it| it.udp_in_checksum_errors,
    counter_name: "UdpInCsumErrors",
    from: at_tunnel_end,
};

fn judge(case: &Case<'_>) -> Ruling {
    if case.working_overlay().is_none() {
        return Ruling::default();
    }
    let found = losses(case, &SIGN).into_iter();
    Ruling::from(found.map(|it| judged(case, it)).collect::<Vec<_>>())
}

fn judged(case: &Case<'_>, counted: Counted<'_, '_>) -> Judged {
    let Counted { peer, evidence, .. } = counted;
    let (cidr, name) = (peer.cidr, case.overlay_name());
    let lost = Effect::Loss(cidr, StagePair::WireToOverlay);
    Judged {
        finding: RULE.finding(
            format!("VXLAN packets from {} have wrong UDP checksums", peer.label()),
            case.about_peer(peer),
            case.in_window(),
            evidence,
            vec![
                format!(
                    "ethtool -K {name} tx-checksum-ip-generic off      (on {}, after each start of \
                     flannel)",
                    peer.short_name()
                ),
                "(the card or the virtual switch there miscounts what it is left to sum; else \
                 something between the nodes changes the packets: `nstat -az UdpInCsumErrors` here)"
                    .to_owned(),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([lost]),
        explains: BTreeSet::from([lost, Effect::Silence(cidr)]),
        as_break: format!("VXLAN packets from {cidr}, with wrong UDP checksums"),
    }
}
