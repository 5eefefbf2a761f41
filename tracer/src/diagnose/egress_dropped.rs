//! `egress-dropped`: a packet filter of this node drops what its pods send to the outside.
//!
//! The rule may be meant: the finding names what is dropped, and calls it no mistake. Addresses of
//! services are no outside: what is for one is not forwarded by it, unless kube-proxy refuses it.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    blocked::{Passed, blocked, is_refused_as_closed},
    case::Case,
    dropped::{Dropped, Way, way},
    finding::{Confidence, Severity},
    firewall::{flows, perhaps_forbidden, service, show_rules},
    fw_drops_at_ports,
    rule::{Effect, Judged, Rank, Rule, Ruling},
    service_addresses::is_service,
};
use crate::evidence::{Drop, DropFlow};

pub(super) const RULE: Rule = Rule {
    code: "egress-dropped",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

/// Whom a pod calls: an address, a protocol and a port.
type Called = (IpAddr, u8, u16);

fn judge(case: &Case<'_>) -> Ruling {
    let passed = Passed::of(case);
    let is_told = fw_drops_at_ports::telling(case);
    let found =
        blocked(case, &passed, |drop| called(case, &passed, drop).filter(|_| !is_told(drop)));
    let (outside, open): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|((address, ..), _)| is_service(case, *address) == Some(false));
    let mut ruling = Ruling::default();
    ruling.unseen.extend(open.iter().filter_map(|(_, dropped)| undecided(dropped)));
    let drops: Vec<&Drop> = outside.iter().flat_map(|(_, it)| it.drops.iter().copied()).collect();
    if drops.is_empty() {
        return ruling;
    }
    let dropped = Dropped::of(drops);
    let why = || {
        format!("why a packet filter dropped {} packets of pods to the outside", dropped.packets)
    };
    match perhaps_forbidden(case, why) {
        Some(line) => ruling.unseen.push(line),
        None => ruling.judged.push(judged(case, &dropped)),
    }
    ruling
}

/// Whom a pod of this node calls in vain.
fn called(case: &Case<'_>, passed: &Passed, drop: &Drop) -> Option<Called> {
    let flow = drop.flow.filter(|flow| !passed.knows(*flow))?;
    let is_pod = case.topology.tables.is_some_and(|tables| !tables.is_local(flow.source));
    if !is_pod || way(case, drop)? != Way::Outside || is_refused_as_closed(case, &flow) {
        return None;
    }
    // Addresses of links are the node's affair: DNS on the node, the cloud's metadata.
    let is_of_link = match flow.destination {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let is_service = is_service(case, flow.destination) == Some(true);
    // Of an echo the port is the identifier of who asks.
    let port = if matches!(flow.protocol, 1 | 58) { 0 } else { flow.destination_port };
    (!is_of_link && !is_service).then_some((flow.destination, flow.protocol, port))
}

fn undecided(dropped: &Dropped<'_>) -> Option<String> {
    let flow = dropped.drops.first()?.flow?;
    Some(format!(
        "whether this node keeps pods from the outside: a packet filter dropped {} packets to {}, {}, \
         and nothing tells whether that is a service's address (--service-cidr)",
        dropped.packets,
        flow.destination,
        service(&flow)
    ))
}

fn judged(case: &Case<'_>, dropped: &Dropped<'_>) -> Judged {
    let node = &case.evidence.node.name;
    let called: BTreeSet<DropFlow> = dropped.drops.iter().filter_map(|drop| drop.flow).collect();
    let mut evidence = vec![format!(
        "{} packets of its pods to addresses outside the cluster in {:.1} s: {}",
        dropped.packets,
        case.evidence.window.seconds,
        dropped.by()
    )];
    evidence.extend(flows(&dropped.drops));
    let effects: BTreeSet<Effect> =
        called.iter().map(|flow| Effect::Outside(flow.source)).collect();
    let what =
        "what drops in the hooks forward and postrouting; it may be meant, as an egress policy";
    Judged {
        finding: RULE.finding(
            format!("{node} drops what its pods send to the outside"),
            case.about_node(&case.overlay_name()),
            case.in_window(),
            evidence,
            show_rules(case, what),
        ),
        rank: RULE.rank,
        supports: effects.clone(),
        explains: effects,
        as_break: "what pods send to the outside".to_owned(),
    }
}
