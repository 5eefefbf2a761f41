//! What was not seen, and why.

use super::{case::Case, dns_unexplained, impact, merge::Cause, rule::Effect};
use crate::{evidence::Evidence, topology::undecided_ipv6};

/// How many packets must leak to addresses of no known peer before it is worth a line.
const ENOUGH: u64 = 3;
/// What another node's evidence would show.
pub(super) const PEERS_TABLES: &str = "the peers' own tables: run check there";

/// The lines: the collectors' first, then the rules', then what no check of this version sees.
pub(super) fn lines(
    evidence: &Evidence,
    cases: &[Case<'_>],
    causes: &[Cause],
    of_rules: Vec<String>,
) -> Vec<String> {
    let mut lines = evidence.unseen.clone();
    lines.extend(of_rules);
    let unexplained = dns_unexplained::lines(cases, causes, &lines);
    lines.extend(unexplained);
    lines.extend(cases.iter().filter_map(Case::not_judged));
    if let Some(bridge) = undecided_ipv6(evidence) {
        lines.push(format!(
            "IPv6: pods of {} have addresses of it, but there is no VXLAN device for it, and nothing \
             tells whether flannel serves it; a subnet.env or a peers file (--subnet-env, --peers) does",
            bridge.name
        ));
    }
    if evidence.tables.is_none() {
        lines.push("routes, neighbours and FDB entries: the tables were not read".to_owned());
    }
    if evidence.traffic.is_some() {
        lines.extend(of_stages(evidence, cases, causes));
    } else if !evidence.unseen.iter().any(|line| line.starts_with("packets:")) {
        lines.push("packets: the stages were not observed".to_owned());
    }
    if cases.iter().any(|case| !case.topology.peers.is_empty()) {
        lines.push(PEERS_TABLES.to_owned());
    }
    lines.extend(of_drops(evidence));
    lines.push(of_dns(evidence).to_owned());
    lines.extend(of_vips(evidence));
    lines.push("the history of a daemon: not read by this version".to_owned());
    let mut seen = std::collections::HashSet::new();
    lines.retain(|line| seen.insert(line.clone()));
    lines
}

/// Where the collectors have not said why, as in evidence of before drops were read.
fn of_drops(evidence: &Evidence) -> Option<String> {
    let is_told = evidence.unseen.iter().any(|line| line.starts_with("drops:"));
    let is_unseen = evidence.drops.is_none() && !is_told;
    is_unseen.then(|| "drops: not observed".to_owned())
}

/// The bridge hands such queries from port to port.
const fn of_dns(evidence: &Evidence) -> &'static str {
    if evidence.dns.is_some() {
        "DNS queries of pods to a server in a pod of this node: they pass no stage"
    } else {
        "DNS queries: not observed"
    }
}

/// What found no room in the programs' tables.
fn of_vips(evidence: &Evidence) -> Vec<String> {
    let Some(vips) = &evidence.vips else {
        let is_told = evidence.unseen.iter().any(|line| line.starts_with("VIPs"));
        return if is_told { Vec::new() } else { vec!["VIPs: not observed".to_owned()] };
    };
    let (without_room, unannounced) = (vips.without_room, vips.unannounced);
    [
        (without_room, "VIPs, which find no room: not counted"),
        (unannounced, "announcements of addresses, which found no room: VIPs may be among them"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect()
}

fn of_stages(evidence: &Evidence, cases: &[Case<'_>], causes: &[Cause]) -> Vec<String> {
    let mut lines = Vec::new();
    for hook in evidence.hooks.iter().filter(|hook| !hook.attached) {
        let direction = format!("{:?}", hook.direction).to_lowercase();
        lines.push(format!("{direction} of {}: not attached, {}", hook.interface, hook.because));
    }
    for hook in evidence.hooks.iter().filter(|hook| !hook.foreign.is_empty()) {
        let direction = format!("{:?}", hook.direction).to_lowercase();
        lines.push(format!(
            "losses before {direction} of {}: {} may end a packet's way before the tracer's program \
             sees it",
            hook.interface,
            hook.foreign.join(" and ")
        ));
    }
    let traffic = evidence.traffic.as_ref();
    let is_explained =
        |family| causes.iter().any(|cause| cause.accounts_for.contains(&Effect::StrayLeak(family)));
    let families = cases.iter().map(|case| case.topology.family);
    let open = families.filter(|family| !is_explained(*family));
    let stray_of =
        |family| traffic.map_or(0, |traffic| impact::stray_leaks_of(cases, traffic, family));
    let stray: u64 = open.map(stray_of).sum();
    if stray >= ENOUGH {
        lines.push(format!(
            "who owns the addresses of the pod network to which {stray} packets left un-encapsulated: \
             no sign of a living node"
        ));
    }
    lines.push("same-node pod traffic, which the bridge forwards by itself".to_owned());
    lines
}
