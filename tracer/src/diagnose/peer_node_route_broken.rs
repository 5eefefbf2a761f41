//! `peer-node-route-broken`: the kernel has no way to the node of a peer, so its tunnel packets end
//! where they would leave: a route or rule refuses them, no route is left, or the route leads into the
//! tunnel itself.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::{
    case::{Case, table_name},
    finding::{Confidence, Severity},
    refusing_route::{refusing_route, words},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
    underlay::{ENETUNREACH, NoWay, no_way},
};
use crate::{
    evidence::{Route, RouteOutcome},
    topology::{Peer, TABLE_MAIN},
};

pub(super) const RULE: Rule = Rule {
    code: "peer-node-route-broken",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Entry,
    judge,
};

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

fn judged(case: &Case<'_>, peer: &Peer<'_>, NoWay { node, outcome }: NoWay<'_>) -> Judged {
    let cidr = peer.cidr;
    let overlay = case.overlay_name();
    let refusing = refusing(case, node, outcome);
    let mut evidence = vec![
        format!("{overlay} sends packets for {cidr} to {node}"),
        format!("asked for a packet to {node}, the kernel {}", case.describe(outcome)),
    ];
    evidence
        .extend(refusing.map(|it| format!("table {} has the {}", table_name(it.table), words(it))));
    let title = match outcome {
        RouteOutcome::Route(_) => {
            format!("The way to the node of {} leads into {overlay} itself", peer.label())
        }
        RouteOutcome::Refused(_) => {
            format!("The kernel has no way to the node of {}", peer.label())
        }
    };
    Judged {
        finding: RULE.finding(
            title,
            case.about_peer(peer),
            case.before_start(),
            evidence,
            repair(case, node, outcome, refusing),
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::NoWay(cidr)]),
        explains: Effect::beyond_overlay(cidr).collect(),
        as_break: format!("route to the node of {cidr}"),
    }
}

/// The route that refuses; none where routes are missing, or a rule refuses.
fn refusing<'a>(case: &Case<'a>, node: IpAddr, outcome: &RouteOutcome) -> Option<&'a Route> {
    let RouteOutcome::Refused(errno) = outcome else { return None };
    refusing_route(case.topology.tables?, node.into(), *errno)
}

fn repair(
    case: &Case<'_>,
    node: IpAddr,
    outcome: &RouteOutcome,
    refusing: Option<&Route>,
) -> Vec<String> {
    let ip = remedy::ip(case.topology.family);
    let del = |route: &Route, words: String| {
        let table = match route.table {
            TABLE_MAIN => String::new(),
            other => format!(" table {}", table_name(other)),
        };
        format!("{ip} route del {words}{table}")
    };
    let pods = |route: &Route| case.topology.peers.iter().any(|it| it.cidr == route.destination);
    let mend = match (outcome, refusing) {
        (RouteOutcome::Route(route), _) if pods(route) => format!(
            "(the nodes' network and the pod network {} overlap: one of them needs other addresses)",
            route.destination
        ),
        (RouteOutcome::Route(route), _) => {
            del(route, format!("{} dev {}", route.destination, case.overlay_name()))
        }
        (_, Some(route)) => del(route, words(route)),
        (RouteOutcome::Refused(ENETUNREACH), _) => format!(
            "{ip} route add {} via ROUTER      (ROUTER: the gateway to the network of {node})",
            IpNet::from(node)
        ),
        _ => format!("{ip} rule      (no route in the tables refuses it: a rule does)"),
    };
    vec![
        format!("{ip} route get {node}      (to see it again)"),
        mend,
        "(and where it comes from: the network's configuration, a VPN, a routing daemon)"
            .to_owned(),
    ]
}
