//! `fw-drops-vxlan-output`: a packet filter of this node drops the tunnel's packets that leave.

use super::{
    case::Case,
    dropped::Way,
    finding::{Confidence, Severity},
    firewall::{show_rules, tunnel_port},
    fw_drops_vxlan::{Direction, judge as judge_direction},
    rule::{Effect, Rank, Rule, Ruling},
};
use crate::evidence::StagePair;

pub(super) const RULE: Rule = Rule {
    code: "fw-drops-vxlan-output",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

const OUTPUT: Direction = Direction {
    rule: &RULE,
    pair: StagePair::OverlayToWire,
    takes: |way| match way {
        Way::TunnelOut(cidr) => Some(cidr),
        _ => None,
    },
    drops: "that goes to",
    explains: |cidr| {
        let pairs = [StagePair::OverlayToWire, StagePair::WireToPeer];
        let losses = pairs.into_iter().map(move |pair| Effect::Loss(cidr, pair));
        losses.chain([Effect::Silence(cidr)]).collect()
    },
    repair: |case| {
        let what = format!("what drops {} in output or postrouting", tunnel_port(case));
        show_rules(case, &what)
    },
};

fn judge(case: &Case<'_>) -> Ruling {
    judge_direction(case, &OUTPUT)
}
