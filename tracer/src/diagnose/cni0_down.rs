//! `cni0-down`: the bridge of the pods is down, or was deleted while pods were on it.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::{Link, StagePair, Tables},
    topology::leaves_by,
};

pub(super) const RULE: Rule = Rule {
    code: "cni0-down",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Device,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let Some(tables) = case.topology.tables else { return Ruling::default() };
    match case.topology.bridge {
        Some(bridge) if bridge.up => Ruling::default(),
        Some(bridge) => Ruling::from(vec![down(case, tables, bridge)]),
        None => Ruling::from(deleted(case, tables)),
    }
}

fn down(case: &Case<'_>, tables: &Tables, bridge: &Link) -> Judged {
    let name = &bridge.name;
    let ports = tables.links.iter().filter(|link| link.master == Some(bridge.index)).count();
    judged(
        case,
        name,
        format!("{name} is administratively down: the pods of this node reach nothing"),
        vec![format!("the bridge {name} exists, has {ports} ports, and its IFF_UP flag is clear")],
        vec![format!("ip link set {name} up")],
    )
}

/// The bridge is gone and the pods' veths are left. Without pods no bridge is needed.
fn deleted(case: &Case<'_>, tables: &Tables) -> Option<Judged> {
    let own = case.topology.own_cidrs.first()?;
    let orphans: Vec<&str> = tables
        .links
        .iter()
        .filter(|link| is_orphan(case, tables, link))
        .map(|link| link.name.as_str())
        .collect();
    let first = orphans.first()?;
    let name = case.evidence.intent.bridge_option.as_deref().unwrap_or("cni0");
    let node = &case.evidence.node.name;
    Some(judged(
        case,
        name,
        format!("{name} was deleted: the running pods of this node reach nothing"),
        vec![
            format!("no bridge holds {own}"),
            format!("{} veths of pods have no bridge ({first} among them)", orphans.len()),
        ],
        vec![
            format!("kubectl drain {node} --ignore-daemonsets --delete-emptydir-data"),
            format!("kubectl uncordon {node}"),
            "(running pods do not return to a new bridge: they must be re-created)".to_owned(),
        ],
    ))
}

/// A veth whose other end is in another namespace and that leads nowhere: no master, no address,
/// no route.
fn is_orphan(case: &Case<'_>, tables: &Tables, link: &Link) -> bool {
    let is_uplink = || case.topology.uplinks.iter().any(|uplink| uplink.index == link.index);
    let has_address = || tables.addresses_of(link.index).any(|it| it.address.is_ipv4());
    let is_routed = || {
        let routes = &mut tables.routes.iter();
        routes.any(|it| it.destination.addr().is_ipv4() && leaves_by(it, link.index))
    };
    link.kind.as_deref() == Some("veth")
        && link.lower_elsewhere
        && link.master.is_none()
        && !is_uplink()
        && !has_address()
        && !is_routed()
}

fn judged(
    case: &Case<'_>,
    name: &str,
    title: String,
    evidence: Vec<String>,
    repair: Vec<String>,
) -> Judged {
    let mut explains = BTreeSet::from([Effect::StrayLeak]);
    for peer in &case.topology.peers {
        explains.extend([
            Effect::Loss(peer.cidr, StagePair::PodToOverlay),
            Effect::Loss(peer.cidr, StagePair::OverlayToPod),
            Effect::Silence(peer.cidr),
        ]);
    }
    let subject = case.about_interface(name);
    Judged {
        finding: RULE.finding(title, subject, case.before_start(), evidence, repair),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains,
        as_break: format!("bridge {name}"),
    }
}
