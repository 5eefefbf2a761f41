//! `peer-node-route-broken`: the kernel has no way to the node of a peer, so its tunnel packets end
//! where they would leave: a route or rule refuses them, no route is left, or the route leads into the
//! tunnel itself.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::{
    case::{Case, table_name},
    finding::{Confidence, Severity},
    refusing_route::{of_table, refusing_route, words},
    remedy,
    rule::{self, Effect, Judged, Rank, Ruling},
    underlay::{NoWay, no_way},
};
use crate::{
    evidence::{Route, RouteOutcome, Rule, StagePair},
    topology::Peer,
};

pub(super) const RULE: rule::Rule = rule::Rule {
    code: "peer-node-route-broken",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Entry,
    judge,
};

/// The kernel's "network is unreachable": it has no route, or a rule says so (FR_ACT_UNREACHABLE in
/// net/ipv4/fib_rules.c, Linux 6.18).
const ENETUNREACH: i32 = 101;

/// What is wrong with the way.
#[derive(Clone, Copy)]
enum Culprit<'a> {
    /// This route leads into the tunnel.
    Loop(&'a Route),
    /// This route refuses.
    Refusing(&'a Route),
    /// A rule refuses.
    Rule,
    /// No route is left.
    Missing,
}

fn judge(case: &Case<'_>) -> Ruling {
    if case.working_overlay().is_none() {
        return Ruling::default();
    }
    let judged = case.topology.peers.iter().filter_map(|peer| {
        let no_way = no_way(case, peer)?;
        Some(judged(case, peer, no_way))
    });
    Ruling::from(judged.collect::<Vec<_>>())
}

fn judged(case: &Case<'_>, peer: &Peer<'_>, no_way: NoWay<'_>) -> Judged {
    let (cidr, NoWay { node, outcome }) = (peer.cidr, no_way);
    let overlay = case.overlay_name();
    let culprit = Culprit::of(case, no_way);
    let mut evidence = vec![
        format!("{overlay} sends packets for {cidr} to {node}"),
        format!("asked for a packet to {node}, the kernel {}", case.describe(outcome)),
    ];
    if let Culprit::Refusing(route) = culprit {
        evidence.push(format!("table {} has the {}", table_name(route.table), words(route)));
    }
    let title = match culprit {
        Culprit::Loop(_) => {
            format!("The way to {node}, the node of {cidr}, leads into {overlay} itself")
        }
        _ => format!("The kernel has no way to {node}, the node of {cidr}"),
    };
    // Where the way back is missing, a packet that comes is dropped too by a reverse path filter.
    let inward = Effect::Loss(cidr, StagePair::WireToOverlay);
    Judged {
        finding: RULE.finding(
            title,
            case.about_peer(peer),
            case.before_start(),
            evidence,
            repair(case, node, culprit),
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::NoWay(cidr)]),
        explains: Effect::beyond_overlay(cidr).chain([inward]).collect(),
        as_break: format!("route to the node of {cidr}"),
    }
}

fn repair(case: &Case<'_>, node: IpAddr, culprit: Culprit<'_>) -> Vec<String> {
    let ip = remedy::ip(case.topology.family);
    let pods = |route: &Route| case.topology.peers.iter().any(|it| it.cidr == route.destination);
    let mend = match culprit {
        Culprit::Loop(route) if pods(route) => format!(
            "(the nodes' network and the pod network {} overlap: one of them needs other addresses)",
            route.destination
        ),
        Culprit::Loop(route) if is_of(route, node) => format!(
            "{ip} route del {} dev {}{}",
            route.destination,
            case.overlay_name(),
            of_table(route)
        ),
        Culprit::Refusing(route) if is_of(route, node) => {
            format!("{ip} route del {}{}", words(route), of_table(route))
        }
        Culprit::Rule => format!("{ip} rule      (no route in the tables refuses it: a rule does)"),
        Culprit::Loop(_) | Culprit::Refusing(_) | Culprit::Missing => missing(case, node),
    };
    vec![
        format!("{ip} route get {node}      (to see it again)"),
        mend,
        "(and what writes it: the network's configuration, a VPN, a routing daemon)".to_owned(),
    ]
}

/// The words to write a narrower route, or the only one. That of a network of the node's own is the
/// kernel's, written with the address.
fn missing(case: &Case<'_>, node: IpAddr) -> String {
    let ip = remedy::ip(case.topology.family);
    let addresses = case.topology.tables.iter().flat_map(|tables| &tables.addresses);
    let networks = addresses.filter_map(|own| {
        let network = IpNet::new(own.address, own.prefix_length).ok()?;
        Some((network.trunc(), own)).filter(|_| network.contains(&node))
    });
    match networks.max_by_key(|(network, _)| network.prefix_len()) {
        Some((network, own)) => format!(
            "{ip} route add {network} dev {} src {}",
            case.name_of(Some(own.ifindex)),
            own.address
        ),
        None => format!(
            "{ip} route add {} via ROUTER      (ROUTER: the gateway to its network; or a default \
             route)",
            IpNet::from(node)
        ),
    }
}

/// Whether a route is for this address alone.
fn is_of(route: &Route, node: IpAddr) -> bool {
    route.destination == IpNet::from(node)
}

// === impl Culprit ===

impl<'a> Culprit<'a> {
    fn of(case: &Case<'a>, NoWay { node, outcome }: NoWay<'a>) -> Self {
        let errno = match outcome {
            RouteOutcome::Route(route) => return Self::Loop(route),
            RouteOutcome::Refused(errno) => *errno,
        };
        let Some(tables) = case.topology.tables else { return Self::Missing };
        if let Some(route) = refusing_route(tables, node.into(), errno) {
            return Self::Refusing(route);
        }
        let family = if node.is_ipv4() { 4 } else { 6 };
        let fits = |rule: &Rule| {
            !rule.looks_up
                && rule.family == family
                && rule.iif.is_none()
                && rule.destination.is_none_or(|network| network.contains(&node))
        };
        match tables.rules.iter().any(fits) {
            true => Self::Rule,
            false if errno == ENETUNREACH => Self::Missing,
            false => Self::Rule,
        }
    }
}
