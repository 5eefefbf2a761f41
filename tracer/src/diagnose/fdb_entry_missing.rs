//! `fdb-entry-missing`: the MAC of a peer's neighbour entry is no key of the overlay's FDB.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
    unmapped::{Unmapped, Wrong, unmapped},
};
use crate::{
    evidence::{MacAddress, Neighbour, StagePair},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "fdb-entry-missing",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Entry,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let mut ruling = Ruling::default();
    for Unmapped { peer, neighbour, mac, wrong } in unmapped(case) {
        match wrong {
            Wrong::Fdb => ruling.judged.push(judged(case, peer, neighbour, mac)),
            Wrong::Neighbour(_) => {}
            Wrong::Unknown => ruling.unseen.push(format!(
                "whether the neighbour entry or the FDB entry of {} is wrong: {mac} is no FDB key, \
                 and FDB entries are left that no neighbour uses, fewer than peers that may be \
                 theirs; name the peers with --peers",
                peer.label()
            )),
        }
    }
    ruling
}

fn judged(case: &Case<'_>, peer: &Peer<'_>, neighbour: &Neighbour, mac: MacAddress) -> Judged {
    let cidr = peer.cidr;
    let name = case.overlay_name();
    Judged {
        finding: RULE.finding(
            format!("No FDB entry for {}", peer.label()),
            case.about_peer(peer),
            case.after_age(neighbour.updated_age),
            vec![
                format!("the neighbour {} of {name} has the MAC {mac}", peer.gateway),
                format!("the FDB of {name} has no entry for {mac} nor a default one"),
            ],
            remedy::restart_with_note(
                case.evidence,
                "flannel does not restore FDB entries by itself",
            ),
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::NoFdb(cidr)]),
        explains: BTreeSet::from([
            Effect::NoFdb(cidr),
            Effect::Loss(cidr, StagePair::OverlayToWire),
            Effect::Silence(cidr),
        ]),
        as_break: format!("FDB entry of {cidr}"),
    }
}
