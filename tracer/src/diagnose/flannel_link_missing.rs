//! `flannel-link-missing`: a flannel node without flannel's VXLAN device.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::Family,
    topology::{other_backend, signs_of_flannel},
};

pub(super) const RULE: Rule = Rule {
    code: "flannel-link-missing",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Device,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let Some(tables) = case.topology.tables else { return Ruling::default() };
    let name = case.overlay_name();
    if case.topology.overlay.is_some() || tables.link_named(&name).is_some() {
        return Ruling::default();
    }
    let signs = signs_of_flannel(tables, case.topology.intent);
    if signs.is_empty() || other_backend(tables, case.topology.intent).is_some() {
        return Ruling::default();
    }
    Ruling::from(vec![judged(case, &name, &signs)])
}

fn judged(case: &Case<'_>, name: &str, signs: &[String]) -> Judged {
    let mut explains: BTreeSet<Effect> =
        case.topology.peers.iter().flat_map(|peer| Effect::everything_of(peer.cidr)).collect();
    let family = case.topology.family;
    explains.extend([Effect::StrayLeak(family), Effect::NoOverlay(family)]);
    let note = match case.topology.family {
        Family::V4 => {
            "if flannel's interface is a VPN device that was re-created, flannel 0.27.4 or newer \
             brings its device back"
        }
        Family::V6 => "flannel does not bring this device back by itself",
    };
    Judged {
        finding: RULE.finding(
            format!("{name} does not exist: this node has no {}", case.tunnel()),
            case.about_interface(name),
            case.before_start(),
            vec![
                format!("this node has no VXLAN device of flannel for {}", family.name()),
                format!("it is a flannel node: {}", signs.join("; ")),
            ],
            remedy::restart_with_note(case.evidence, note),
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::NoOverlay(case.topology.family)]),
        explains,
        as_break: format!("device {name}"),
    }
}
