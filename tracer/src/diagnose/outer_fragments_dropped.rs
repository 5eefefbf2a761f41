//! `outer-fragments-dropped`: what does not fit into this node's uplink leaves in fragments, and the
//! fragments are lost on the way to a peer: clouds and firewalls drop them. One node alone proves it by
//! `--probe`: the largest packet that leaves in one piece arrives, and one byte more does not; the counts
//! of both nodes are in [`super::joined`]. Of IPv4 alone: by IPv6 the kernel sends no encapsulated packet
//! in fragments.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    narrow::{TooLarge, fate_to},
    probed::{self, Limit},
    remedy,
    rule::{Judged, Rank, Rule, Ruling},
};
use crate::evidence::Family;

pub(super) const RULE: Rule = Rule {
    code: "outer-fragments-dropped",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let found = probed::limits(case).filter_map(|limit| {
        let (room, fate) = fate_to(case, limit.peer)?;
        let is_shown = (limit.passes, limit.lost) == (room, room + 1);
        (fate == TooLarge::Fragments && is_shown).then(|| judged(case, &limit, room))
    });
    let found = found.filter(|_| case.topology.family == Family::V4);
    Ruling::from(found.collect::<Vec<_>>())
}

fn judged(case: &Case<'_>, limit: &Limit<'_>, room: u32) -> Judged {
    let peer = limit.peer;
    let note = format!("so that new pods take {room} too; running pods must be re-created");
    let mut repair = vec![format!("ip link set {} mtu {room}", case.overlay_name())];
    repair.extend(remedy::restart_with_note(case.evidence, &note));
    Judged {
        finding: RULE.finding(
            format!("Fragments of packets above {room} bytes to {} are lost on the way", peer.label()),
            case.about_peer(peer),
            probed::since(case),
            vec![
                limit.told(),
                format!(
                    "encapsulated, packets above {room} bytes do not fit into this node's uplink and \
                     leave in fragments"
                ),
            ],
            repair,
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: probed::lost(peer),
        as_break: format!("full packets to {}", peer.cidr),
    }
}
