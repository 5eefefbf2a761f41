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
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::evidence::{Drop, DropFlow, Family, Flow, RouteKind};

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
    let found = blocked(case, &passed, |drop| called(case, &passed, drop));
    let (outside, open): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|((address, ..), _)| may_be_service(case, *address) == Some(false));
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
    let is_service = may_be_service(case, flow.destination) == Some(true);
    // Of an echo the port is the identifier of who asks.
    let port = if matches!(flow.protocol, 1 | 58) { 0 } else { flow.destination_port };
    (!is_of_link && !is_service).then_some((flow.destination, flow.protocol, port))
}

/// Whether an address is a service's; `None` where nothing tells. Clusters take private addresses
/// for services, and no route leads to these but the default route.
fn may_be_service(case: &Case<'_>, address: IpAddr) -> Option<bool> {
    let intent = &case.evidence.intent;
    let mut of_family = intent.service_cidrs.iter().filter(|it| is_of(it, case.topology.family));
    if let Some(first) = of_family.next() {
        return Some(first.contains(&address) || of_family.any(|it| it.contains(&address)));
    }
    let mut flows = case.evidence.traffic.iter().flat_map(|traffic| &traffic.flows);
    let is_to = |flow: &Flow| {
        flow.asked_as.is_some_and(|it| it.ip() == address)
            || (flow.destination == address && flow.translated_destination.is_some())
    };
    if flows.any(is_to) {
        return Some(true);
    }
    // Where flannel's rules were read, kube-proxy's were read too.
    let is_without = intent.service_netfilter.is_empty() && !intent.flannel_netfilter.is_empty();
    let is_outside = is_without || !is_private(address) || has_own_route(case, address);
    is_outside.then_some(false)
}

const fn is_of(network: &ipnet::IpNet, family: Family) -> bool {
    matches!(
        (network, family),
        (ipnet::IpNet::V4(_), Family::V4) | (ipnet::IpNet::V6(_), Family::V6)
    )
}

/// Private addresses, and those that carriers share (RFC 1918, RFC 6598, RFC 4193).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            address.is_private() || first == 100 && (64..128).contains(&second)
        }
        IpAddr::V6(address) => address.is_unique_local(),
    }
}

/// Whether another route than the default route leads to an address.
fn has_own_route(case: &Case<'_>, address: IpAddr) -> bool {
    let mut routes = case.topology.tables.iter().flat_map(|tables| &tables.routes);
    routes.any(|route| {
        let network = route.destination;
        route.kind == RouteKind::Unicast && network.prefix_len() > 0 && network.contains(&address)
    })
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
