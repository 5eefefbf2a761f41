//! `neigh-table-overflow`: the kernel's one neighbour table of an IP version has no room, for all
//! namespaces of the machine. flannel's entries are permanent and stay; pods and machines of the LAN
//! find no place.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::evidence::{Family, NeighbourTable, StagePair};

pub(super) const RULE: Rule = Rule {
    code: "neigh-table-overflow",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Kernel,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let tables = case.evidence.statistics.iter().flat_map(|it| &it.neighbour_tables);
    let family = case.topology.family.number();
    let mut full = tables.filter(|it| it.family == family && it.refused > 0 && it.most > 0);
    Ruling::from(full.next().map(|table| judged(case, *table)))
}

fn judged(case: &Case<'_>, table: NeighbourTable) -> Judged {
    let NeighbourTable { entries, most, refused, .. } = table;
    let (family, node) = (case.topology.family, &case.evidence.node.name);
    let setting = match family {
        Family::V4 => "net.ipv4.neigh.default.gc_thresh3",
        Family::V6 => "net.ipv6.neigh.default.gc_thresh3",
    };
    Judged {
        finding: RULE.finding(
            format!(
                "The neighbour table of {node} is full: new {} neighbours are refused",
                family.name()
            ),
            case.about_node(&case.overlay_name()),
            case.before_start(),
            vec![
                format!("{refused} entries were refused in this window for want of room"),
                format!(
                    "{entries} entries of at most {most} ({setting}), of all namespaces together"
                ),
            ],
            repair(case, setting, most),
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: lost(case),
        as_break: format!("new {} neighbours", family.name()),
    }
}

/// Known neighbours are reached: only what was lost is explained, on the way to a node or to a pod.
fn lost(case: &Case<'_>) -> BTreeSet<Effect> {
    let effects = case.topology.peers.iter().flat_map(|peer| {
        let lost = peer.traffic.map(|it| it.lost).unwrap_or_default();
        let to_node =
            (lost.overlay_to_wire > 0).then_some(Effect::Loss(peer.cidr, StagePair::OverlayToWire));
        let to_pod =
            (lost.overlay_to_pod > 0).then_some(Effect::Loss(peer.cidr, StagePair::OverlayToPod));
        to_node.into_iter().chain(to_pod)
    });
    effects.collect()
}

/// The lower limits stay below the highest, or the kernel cleans up all the time.
fn repair(case: &Case<'_>, setting: &str, most: u64) -> Vec<String> {
    let threshold = |number: u8, value: u64| {
        let name = setting.replace("gc_thresh3", &format!("gc_thresh{number}"));
        remedy::set_sysctl_to(case.evidence, &name, value)
    };
    let note = "(on the machine's first network namespace; written into /etc/sysctl.d it stays)";
    let most = most.saturating_mul(4);
    vec![threshold(3, most), threshold(2, most / 2), threshold(1, most / 8), note.to_owned()]
}
