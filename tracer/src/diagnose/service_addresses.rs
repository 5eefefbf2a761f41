//! Addresses of services: which ones are some, and which of them this node refuses to its pods.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use super::{
    case::Case,
    finding::{Subject, SubjectKind},
    rule::{Judged, Ruling},
    sighted::{ENOUGH_ERRORS, Refusal, Seen, error_of, lasting, refusal},
};
use crate::evidence::{Family, Flow, RouteKind, Sighting, has_ports};

/// Whether an address is a service's; `None` where nothing tells.
pub(super) fn is_service(case: &Case<'_>, address: IpAddr) -> Option<bool> {
    if let Some(told) = is_in_service_network(case, address) {
        return Some(told);
    }
    let mut flows = case.evidence.traffic.iter().flat_map(|traffic| &traffic.flows);
    if flows.any(|flow| is_translated_for(flow, address)) {
        return Some(true);
    }
    // Where flannel's rules were read, kube-proxy's were read too.
    let intent = &case.evidence.intent;
    let is_without = intent.service_netfilter.is_empty() && !intent.flannel_netfilter.is_empty();
    (is_without || !may_be_service(case, address)).then_some(false)
}

/// Whether an address is in a service network; `None` where none is known.
pub(super) fn is_in_service_network(case: &Case<'_>, address: IpAddr) -> Option<bool> {
    let networks = case.evidence.intent.service_cidrs.iter();
    let mut of_family = networks.filter(|it| Family::of_net(**it) == case.topology.family);
    let first = of_family.next()?;
    Some(first.contains(&address) || of_family.any(|it| it.contains(&address)))
}

/// Whether a flow shows that somebody stands behind an address as behind a service's.
pub(super) fn is_translated_for(flow: &Flow, address: IpAddr) -> bool {
    flow.asked_as.is_some_and(|it| it.ip() == address)
        || (flow.destination == address && flow.translated_destination.is_some())
}

/// Whether a service may have an address: clusters take private addresses for services, and no route
/// leads to these but the default route.
pub(super) fn may_be_service(case: &Case<'_>, address: IpAddr) -> bool {
    is_private(address) && !has_own_route(case, address)
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

/// What this node refuses to its pods as kube-proxy does it for a service without endpoints: by "port
/// unreachable", for TCP too, from an address of its own. `judged` makes a finding of each one that
/// `is_meant` and that certainly is a service; of the others nothing but that is told.
pub(super) fn refused(
    case: &Case<'_>,
    is_meant: impl Fn(SocketAddr) -> bool,
    judged: impl Fn(&Case<'_>, SocketAddr, Seen) -> Judged,
) -> Ruling {
    let mut ruling = Ruling::default();
    let all: BTreeMap<SocketAddr, Seen> = lasting(case, ENOUGH_ERRORS, |it| refused_by(case, it));
    for (service, seen) in all.into_iter().filter(|(service, _)| is_meant(*service)) {
        match is_service(case, service.ip()) {
            Some(true) => ruling.judged.push(judged(case, service, seen)),
            None => ruling.unseen.push(format!(
                "why this node refuses its pods {service} ({} ICMP errors): nothing tells whether \
                 that is a service's address, which then has no ready endpoints (--service-cidr); \
                 `kubectl get services -A -o wide` shows it",
                seen.packets
            )),
            Some(false) => {}
        }
    }
    ruling
}

/// What is refused. Addresses of the node itself are closed ports of its own, those of services among
/// them: a DNS server on every node (NodeLocal DNS) takes the service's address. IPVS is another matter,
/// which gives every node the addresses of all services.
fn refused_by(case: &Case<'_>, sighting: &Sighting) -> Option<SocketAddr> {
    let error = error_of(sighting).filter(|it| refusal(it) == Some(Refusal::Port))?;
    let (topology, quoted) = (&case.topology, error.quoted);
    let tables = topology.tables?;
    let is_of_node = tables.is_local(error.sender)
        && topology.bridge.is_some_and(|bridge| bridge.name == sighting.interface);
    let is_of_pod = topology.is_own(quoted.source) && !tables.is_local(quoted.source);
    let is_pod = topology.is_own(quoted.destination)
        || topology.cluster_cidrs.iter().any(|it| it.contains(&quoted.destination))
        || topology.peer_of(quoted.destination).is_some();
    let is_host = tables.is_of_node(quoted.destination);
    let has_port = has_ports(quoted.protocol) && quoted.destination_port > 0;
    (is_of_node && is_of_pod && !is_pod && !is_host && has_port)
        .then(|| SocketAddr::new(quoted.destination, quoted.destination_port))
}

/// A port of a service as the subject of a finding.
pub(super) fn subject(service: SocketAddr) -> Subject {
    Subject {
        kind: SubjectKind::Flow,
        key: service.to_string(),
        peer: None,
        cidr: None,
        vtep_mac: None,
        interface: None,
        address: Some(service.ip()),
    }
}

/// What proves that a service has no endpoints.
pub(super) fn evidence(case: &Case<'_>, service: SocketAddr, seen: Seen) -> Vec<String> {
    let seconds = case.evidence.window.seconds;
    vec![format!(
        "{} ICMP errors \"port unreachable\" in {seconds:.1} s from this node itself to its pods, about \
         {service}: so kube-proxy refuses a service without ready endpoints",
        seen.packets
    )]
}
