//! `policy-rule-hijacks-pod-route`: a policy rule has another table asked before table main, and
//! packets for the pods of peers take its route, although main has the right one.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{
    case::{Case, table_name},
    finding::{Confidence, Severity, Subject},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::{Route, RouteOutcome, Rule as PolicyRule, StagePair, Tables},
    topology::{Peer, TABLE_LOCAL, TABLE_MAIN, leaves_by},
};

pub(super) const RULE: Rule = Rule {
    code: "policy-rule-hijacks-pod-route",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Table,
    judge,
};

/// How many peers a line names.
const SHOWN: usize = 5;

/// A peer whose packets take a route of another table.
struct Hijacked<'a> {
    peer: &'a Peer<'a>,
    answer: &'a RouteOutcome,
    route: &'a Route,
}

fn judge(case: &Case<'_>) -> Ruling {
    let Some((tables, overlay)) = case.working_overlay() else { return Ruling::default() };
    let mut by_table = BTreeMap::<u32, Vec<Hijacked<'_>>>::new();
    for peer in &case.topology.peers {
        if let Some(hijacked) = hijacked(peer, overlay.index) {
            by_table.entry(hijacked.route.table).or_default().push(hijacked);
        }
    }
    let judged = by_table.values().filter_map(|hijacked| judged(case, tables, hijacked));
    Ruling::from(judged.collect::<Vec<_>>())
}

/// A peer to which table main has the right route, while the kernel would send by another table's.
fn hijacked<'a>(peer: &'a Peer<'a>, overlay: u32) -> Option<Hijacked<'a>> {
    let right = peer.overlay_route.or(peer.direct)?;
    peer.answers.iter().find_map(|answer| {
        let RouteOutcome::Route(route) = answer else { return None };
        let of_another_table = route.table != TABLE_MAIN && route.table != TABLE_LOCAL;
        let leads_there = leaves_by(route, overlay) || route.next_hops == right.next_hops;
        (of_another_table && !leads_there).then_some(Hijacked { peer, answer, route })
    })
}

fn judged(case: &Case<'_>, tables: &Tables, hijacked: &[Hijacked<'_>]) -> Option<Judged> {
    let first = hijacked.first()?;
    let rule = rule_of(case, tables, first);
    let table = table_name(first.route.table);
    let who = rule.map_or_else(
        || "A policy rule".to_owned(),
        |rule| format!("Policy rule {}", rule.priority),
    );
    let whom = match hijacked {
        [only] => only.peer.label(),
        several => format!("{} peers", several.len()),
    };
    let cidrs: Vec<IpNet> = hijacked.iter().map(|it| it.peer.cidr).collect();
    Some(Judged {
        finding: RULE.finding(
            format!("{who} sends packets for {whom} to table {table} before main"),
            about(case, hijacked, first),
            case.before_start(),
            evidence(case, hijacked, first, rule),
            repair(case, first, rule),
        ),
        rank: RULE.rank,
        supports: cidrs.iter().map(|cidr| Effect::NoRoute(*cidr)).collect(),
        explains: explains(case, &cidrs),
        as_break: format!("routes to {} peers", cidrs.len()),
    })
}

/// What comes in from the peers takes that way too, when the route covers this node's own pods.
fn explains(case: &Case<'_>, cidrs: &[IpNet]) -> BTreeSet<Effect> {
    let of_peer = |cidr: &IpNet| {
        [
            Effect::NoRoute(*cidr),
            Effect::Leak(*cidr),
            Effect::Loss(*cidr, StagePair::PodToOverlay),
            Effect::Loss(*cidr, StagePair::OverlayToPod),
            Effect::Silence(*cidr),
        ]
    };
    cidrs.iter().flat_map(of_peer).chain([Effect::StrayLeak(case.topology.family)]).collect()
}

/// The rule that is asked first of those that name the table and fit the packet.
fn rule_of<'a>(
    case: &Case<'_>,
    tables: &'a Tables,
    hijacked: &Hijacked<'_>,
) -> Option<&'a PolicyRule> {
    let cidr = hijacked.peer.cidr;
    let family = if cidr.addr().is_ipv4() { 4 } else { 6 };
    let of_this_node = |source: IpNet| {
        let pods = case.topology.own_cidrs.iter().any(|own| source.contains(own));
        pods || case.node_ip().is_some_and(|node| source.contains(&node))
    };
    let comes_in = |name: &String| {
        name == "lo" || case.topology.bridge.is_some_and(|bridge| bridge.name == *name)
    };
    let fits = |rule: &&PolicyRule| {
        rule.looks_up
            && rule.family == family
            && rule.table == hijacked.route.table
            && rule.source.is_none_or(of_this_node)
            && rule.destination.is_none_or(|network| network.contains(&cidr))
            && rule.iif.as_ref().is_none_or(comes_in)
    };
    tables.rules.iter().filter(fits).min_by_key(|rule| rule.priority)
}

/// The node, with what is known of the peer when it is only one.
fn about(case: &Case<'_>, hijacked: &[Hijacked<'_>], first: &Hijacked<'_>) -> Subject {
    let device = case.name_of(first.route.next_hops.iter().find_map(|hop| hop.ifindex));
    let node = case.about_node(device);
    match hijacked {
        [only] => Subject {
            peer: only.peer.node_ip,
            cidr: Some(only.peer.cidr),
            vtep_mac: only.peer.vtep_mac,
            ..node
        },
        _ => node,
    }
}

fn evidence(
    case: &Case<'_>,
    hijacked: &[Hijacked<'_>],
    first: &Hijacked<'_>,
    rule: Option<&PolicyRule>,
) -> Vec<String> {
    let (cidr, ip) = (first.peer.cidr, remedy::ip(case.topology.family));
    let mut shown: Vec<String> =
        hijacked.iter().take(SHOWN).map(|it| it.peer.cidr.to_string()).collect();
    if hijacked.len() > SHOWN {
        shown.push("…".to_owned());
    }
    let mut lines = vec![
        format!("asked for a packet to {cidr}, the kernel {}", case.describe(first.answer)),
        format!("table main has the right routes to {}", shown.join(", ")),
    ];
    lines.extend(rule.map(|rule| format!("`{ip} rule` has {}", words(rule))));
    lines
}

/// The words of `ip rule`, as far as they are known.
fn words(rule: &PolicyRule) -> String {
    let source = rule.source.map_or_else(|| "all".to_owned(), |source| source.to_string());
    let to = rule.destination.map(|network| format!(" to {network}")).unwrap_or_default();
    let iif = rule.iif.as_ref().map(|name| format!(" iif {name}")).unwrap_or_default();
    format!("{}: from {source}{to}{iif} lookup {}", rule.priority, table_name(rule.table))
}

fn repair(case: &Case<'_>, first: &Hijacked<'_>, rule: Option<&PolicyRule>) -> Vec<String> {
    let route = first.route;
    let device = case.name_of(route.next_hops.iter().find_map(|hop| hop.ifindex));
    let network = network_of(case, first.peer);
    let mut lines = Vec::new();
    if device.starts_with("tailscale") {
        lines.push("tailscale set --accept-routes=false".to_owned());
    } else if route.destination.prefix_len() > 0 {
        let table = table_name(route.table);
        lines.push(format!("ip route del {} table {table}", route.destination));
    }
    if let Some(before) = rule.and_then(|rule| rule.priority.checked_sub(1)).filter(|it| *it > 0) {
        let or = if lines.is_empty() { "" } else { "      (or: main first for the pod network)" };
        let ip = remedy::ip(case.topology.family);
        lines.push(format!("{ip} rule add pref {before} to {network} lookup main{or}"));
    }
    lines.push(format!(
        "(the program that wrote the rule may write it again: keep {network} out of its routes)"
    ));
    lines
}

/// The pod network in which a peer lies.
fn network_of(case: &Case<'_>, peer: &Peer<'_>) -> IpNet {
    let networks = &case.topology.cluster_cidrs;
    networks.iter().copied().find(|network| network.contains(&peer.cidr)).unwrap_or(peer.cidr)
}
