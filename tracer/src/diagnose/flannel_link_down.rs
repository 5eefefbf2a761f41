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
    let found = case.topology.tables.zip(case.topology.overlay).filter(|(tables, overlay)| {
        !overlay.up && !tables.links.iter().any(|other| holds_port_of(overlay, other))
    });
    Ruling::from(found.map(|(tables, overlay)| judged(case, tables, overlay)))
}

/// A device of another plugin that is up on the same UDP port keeps flannel's from coming up.
/// flannel's own IPv6 twin has a socket of its own.
fn holds_port_of(overlay: &Link, other: &Link) -> bool {
    let (Some(ours), Some(theirs)) = (&overlay.vxlan, &other.vxlan) else { return false };
    other.index != overlay.index
        && other.up
        && theirs.port == ours.port
        && !other.name.starts_with("flannel")
}

fn judged(case: &Case<'_>, tables: &Tables, overlay: &Link) -> Judged {
    let name = &overlay.name;
    let mut explains: BTreeSet<Effect> =
        case.topology.peers.iter().flat_map(|peer| Effect::everything_of(peer.cidr)).collect();
    explains.insert(Effect::StrayLeak);
    let fdb = case.topology.overlay_fdb().count();
    let neighbours =
        tables.neighbours.iter().filter(|entry| entry.ifindex == overlay.index).count();
    let note =
        format!("`ip link set {name} up` alone brings no routes and no neighbour entries back");
    Judged {
        finding: RULE.finding(
            format!("{name} is administratively down: this node has no tunnel to its peers"),
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
