//! `leak-to-unassigned-cidr`: pods call addresses of the cluster's pod network that no node owns any
//! more, and their packets leave by the default route.
//!
//! Where this node knows no peer at all, it is more likely that flannel has written nothing.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{
    case::Case,
    finding::{Confidence, Severity, Subject, SubjectKind},
    rule::{Effect, Judged, Rank, Rule, Ruling},
    sighted::ENOUGH,
};
use crate::evidence::{Family, Flow, Route};

pub(super) const RULE: Rule = Rule {
    code: "leak-to-unassigned-cidr",
    severity: Severity::Info,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

/// How many of the flows are named.
const NAMED: usize = 3;

fn judge(case: &Case<'_>) -> Ruling {
    let mut peers = case.topology.peers.iter();
    let is_written = peers.any(|peer| peer.overlay_route.is_some() && peer.resolved().is_some());
    if case.working_overlay().is_none() || !is_written {
        return Ruling::default();
    }
    let mut found = BTreeMap::<IpNet, Vec<&Flow>>::new();
    for flow in case.evidence.traffic.iter().flat_map(|traffic| &traffic.flows) {
        if let Some(cidr) = unassigned(case, flow) {
            found.entry(cidr).or_default().push(flow);
        }
    }
    found.retain(|_, flows| flows.iter().map(|flow| flow.leaked).sum::<u64>() >= ENOUGH);
    Ruling::from(found.iter().map(|(cidr, flows)| judged(case, *cidr, flows)).collect::<Vec<_>>())
}

/// The CIDR of a node that a leaking flow is for, as large as this node's own, where nobody lives.
fn unassigned(case: &Case<'_>, flow: &Flow) -> Option<IpNet> {
    let (topology, target) = (&case.topology, flow.destination);
    let is_named = named_networks(case).any(|network| network.contains(&target));
    let is_leak = flow.leaked > 0 && is_named && topology.is_own(flow.source);
    if !is_leak || topology.is_own(target) || topology.peer_of(target).is_some_and(|it| it.lives())
    {
        return None;
    }
    // Whoever made a route for it knows better.
    let is_routed = |route: &&Route| {
        let length = route.destination.prefix_len();
        length > 0
            && route.destination.contains(&target)
            && named_networks(case).all(|network| network.trunc() != route.destination)
    };
    if topology.tables?.routes.iter().any(|route| is_routed(&route)) {
        return None;
    }
    let length = topology.own_cidrs.first()?.prefix_len();
    Some(IpNet::new(target, length).ok()?.trunc())
}

/// The cluster's networks as far as anything names them: one that is inferred may be another's.
fn named_networks<'a>(case: &Case<'a>) -> impl Iterator<Item = &'a IpNet> + use<'a> {
    let (intent, family) = (&case.evidence.intent, case.topology.family);
    let by_flannel = intent.subnet_env.iter().flat_map(|env| &env.networks);
    let all = by_flannel.chain(&intent.cluster_cidrs);
    all.filter(move |network| Family::of_net(**network) == family)
}

fn judged(case: &Case<'_>, cidr: IpNet, flows: &[&Flow]) -> Judged {
    let packets: u64 = flows.iter().map(|flow| flow.leaked).sum();
    let seconds = case.evidence.window.seconds;
    let mut evidence = vec![
        format!(
            "{packets} packets of {} flows for {cidr} left un-encapsulated in {seconds:.1} s",
            flows.len()
        ),
        format!("no route, no neighbour and FDB entry, and no list of nodes has {cidr}"),
    ];
    let calls: BTreeSet<String> = flows
        .iter()
        .map(|flow| {
            format!("{} to {}, port {}", flow.source, flow.destination, flow.destination_port)
        })
        .collect();
    evidence.extend(calls.into_iter().take(NAMED));
    let effect = Effect::StrayLeak(case.topology.family);
    Judged {
        finding: RULE.finding(
            format!("Pods still call {cidr}, which no node owns"),
            Subject {
                kind: SubjectKind::Flow,
                key: cidr.to_string(),
                peer: None,
                cidr: Some(cidr),
                vtep_mac: None,
                interface: None,
                address: None,
            },
            case.in_window(),
            evidence,
            vec![
                format!(
                    "kubectl get endpointslices -A -o wide | grep {}",
                    flows.first().map_or(cidr.addr(), |flow| flow.destination)
                ),
                "(stale endpoints, or clients that keep an address: find and restart them)"
                    .to_owned(),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([effect]),
        explains: BTreeSet::from([effect]),
        as_break: format!("packets for {cidr}"),
    }
}
