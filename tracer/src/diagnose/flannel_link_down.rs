//! `flannel-link-down`: flannel's VXLAN device is administratively down.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::evidence::{Link, Tables};

pub(super) const RULE: Rule = Rule {
    code: "flannel-link-down",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Device,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let found = case.topology.tables.zip(case.topology.overlay);
    let down = found.filter(|(_, overlay)| !overlay.up && case.port_holder().is_none());
    Ruling::from(down.map(|(tables, overlay)| judged(case, tables, overlay)))
}

fn judged(case: &Case<'_>, tables: &Tables, overlay: &Link) -> Judged {
    let name = &overlay.name;
    let mut explains: BTreeSet<Effect> =
        case.topology.peers.iter().flat_map(|peer| Effect::everything_of(peer.cidr)).collect();
    explains.insert(Effect::StrayLeak(case.topology.family));
    let fdb = case.topology.overlay_fdb().count();
    let neighbours =
        tables.neighbours.iter().filter(|entry| entry.ifindex == overlay.index).count();
    let note =
        format!("`ip link set {name} up` alone brings no routes and no neighbour entries back");
    Judged {
        finding: RULE.finding(
            format!("{name} is administratively down: this node has no {}", case.tunnel()),
            case.about_interface(name),
            case.before_start(),
            vec![
                format!("{name} exists and its IFF_UP flag is clear"),
                format!("left on it: {fdb} FDB entries, {neighbours} neighbour entries"),
            ],
            remedy::restart_with_note(case.evidence, &note),
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains,
        as_break: format!("device {name}"),
    }
}
