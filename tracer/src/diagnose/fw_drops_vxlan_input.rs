//! `fw-drops-vxlan-input`: a packet filter of this node drops the tunnel's packets that come in.
//!
//! Rules that reject look the same here: that they answer is seen by who is answered.

use super::{
    case::Case,
    dropped::Way,
    finding::{Confidence, Severity},
    firewall::{allow_tunnel, show_rules, tunnel_port},
    fw_drops_vxlan::{Direction, judge as judge_direction},
    rule::{Effect, Rank, Rule, Ruling},
};
use crate::evidence::StagePair;

pub(super) const RULE: Rule = Rule {
    code: "fw-drops-vxlan-input",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

const INPUT: Direction = Direction {
    rule: &RULE,
    pair: StagePair::WireToOverlay,
    takes: |way| match way {
        Way::TunnelIn(cidr) => Some(cidr),
        _ => None,
    },
    drops: "that comes from",
    explains: |cidr| Effect::between_tunnel_ends(cidr).collect(),
    repair: |case| {
        let what = format!("what drops {} in ingress, prerouting or input", tunnel_port(case));
        let note = "(a rule that drops what conntrack calls invalid takes packets with wrong UDP \
                    checksums too: if `conntrack -S` counts them, on the peer `ethtool -K DEVICE \
                    tx-checksum-ip-generic off`)";
        [vec![allow_tunnel(case)], show_rules(case, &what), vec![note.to_owned()]].concat()
    },
};

fn judge(case: &Case<'_>) -> Ruling {
    judge_direction(case, &INPUT)
}
