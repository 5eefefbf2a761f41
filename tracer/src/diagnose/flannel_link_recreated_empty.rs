//! `flannel-link-recreated-empty`: flannel's VXLAN device is up with its address, and none of its
//! tables holds a peer, although peers live.
//!
//! So it is after the device was deleted and created again: flannel writes the peers' entries at
//! its start and when a node changes, not for a new device. A cluster of one node looks the same,
//! but for the signs of life.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity, Since},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::{Link, NeighbourState, Tables},
    topology::{LifeSign, Peer},
};

pub(super) const RULE: Rule = Rule {
    code: "flannel-link-recreated-empty",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Table,
    judge,
};

/// How many peers a line names.
const SHOWN: usize = 5;

fn judge(case: &Case<'_>) -> Ruling {
    let Some((tables, overlay)) = case.working_overlay() else { return Ruling::default() };
    if !is_empty(case) {
        return Ruling::default();
    }
    let living: Vec<&Peer<'_>> = case.topology.peers.iter().filter(|it| misses(case, it)).collect();
    if living.is_empty() {
        let direct = case.topology.peers.iter().any(|peer| peer.direct.is_some());
        let unseen = if direct { Vec::new() } else { vec![unsure(overlay)] };
        return Ruling { judged: Vec::new(), unseen };
    }
    Ruling::from(vec![judged(case, tables, overlay, &living)])
}

/// Nothing that flannel writes is there; what the kernel learned by ARP is none of it.
fn is_empty(case: &Case<'_>) -> bool {
    let written = |state| state == NeighbourState::Permanent;
    case.topology.overlay_fdb().next().is_none()
        && !case.topology.overlay_neighbours().any(|entry| written(entry.state))
        && !case.has_overlay_routes()
}

/// A peer that is alive by a sign that needs no table. With DirectRouting it needs no entry.
fn misses(case: &Case<'_>, peer: &Peer<'_>) -> bool {
    peer.direct.is_none()
        && case.topology.overlay_serves()
        && (peer.has(LifeSign::Intent) || peer.has(LifeSign::Vxlan))
}

fn unsure(overlay: &Link) -> String {
    format!(
        "whether there are peers: {} has no entry of any, and none shows that it lives; name them \
         with --peers",
        overlay.name
    )
}

fn judged(case: &Case<'_>, tables: &Tables, overlay: &Link, living: &[&Peer<'_>]) -> Judged {
    let name = &overlay.name;
    let of_peers = case.topology.peers.iter().flat_map(|peer| Effect::everything_of(peer.cidr));
    let note = "flannel writes its entries at its start, not into a device that was created anew";
    Judged {
        finding: RULE.finding(
            format!("{name} is there and empty: no route, neighbour or FDB entry of any peer"),
            case.about_interface(name),
            since(case, tables, overlay),
            evidence(name, living),
            remedy::restart_with_note(case.evidence, note),
        ),
        rank: RULE.rank,
        supports: living.iter().map(|peer| Effect::NoRoute(peer.cidr)).collect(),
        explains: of_peers.chain([Effect::StrayLeak(case.topology.family)]).collect(),
        as_break: format!("entries of {name}"),
    }
}

/// The device cannot have been emptied before its addresses were given.
fn since(case: &Case<'_>, tables: &Tables, overlay: &Link) -> Since {
    let ages = tables.addresses_of(overlay.index).map(|address| address.created_age);
    let oldest: Option<Vec<f64>> = ages.collect();
    case.after_age(oldest.and_then(|ages| ages.into_iter().reduce(f64::max)))
}

fn evidence(name: &str, living: &[&Peer<'_>]) -> Vec<String> {
    let mut shown: Vec<String> = living.iter().take(SHOWN).map(|peer| peer.label()).collect();
    if living.len() > SHOWN {
        shown.push("…".to_owned());
    }
    let signs: BTreeSet<&str> = living.iter().map(|peer| sign_of(peer)).collect();
    vec![
        format!("{name} is up with its address, and its FDB, neighbours and routes are empty"),
        format!("{}: {}", Vec::from_iter(signs).join(", or "), shown.join(", ")),
    ]
}

fn sign_of(peer: &Peer<'_>) -> &'static str {
    if peer.has(LifeSign::Vxlan) {
        "VXLAN packets came from peers"
    } else {
        "a peers file names peers"
    }
}
