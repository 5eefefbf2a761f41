//! `pod-port-closed`: a pod answers by its own address that nobody listens at a port. An ordinary
//! fault of an application, told so that the network is not blamed.
//!
//! A firewall can answer in the pod's name, and a server whose queue is full too: so refusals must be
//! all that comes from the port. Ports of clients are left out: a client that has given up refuses
//! late answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    case::Case,
    dns_servers,
    finding::{Confidence, Severity, Subject, SubjectKind},
    rule::{Judged, Rank, Rule, Ruling},
    sighted::{ENOUGH, Refusal, Seen, UDP, lasting, refusal},
};
use crate::evidence::{Sight, Sighting};

pub(super) const RULE: Rule = Rule {
    code: "pod-port-closed",
    severity: Severity::Info,
    confidence: Confidence::Certain,
    rank: Rank::Told,
    judge,
};

const TCP: u8 = 6;
/// From where on Linux takes the ports of clients (net.ipv4.ip_local_port_range).
const FIRST_CLIENT_PORT: u16 = 32_768;
/// How many ports of a pod are named.
const NAMED: usize = 5;

/// A port of a pod.
type Port = (IpAddr, u8, u16);

fn judge(case: &Case<'_>) -> Ruling {
    let mut closed = lasting(case, ENOUGH, |sighting| refused(case, sighting));
    closed.retain(|port, seen| is_all(case, *port, seen.packets));
    // A server of DNS has a code of its own.
    let servers = dns_servers::closed(case);
    closed.retain(|(pod, _, port), _| *port != dns_servers::PORT || !servers.contains_key(pod));
    let mut by_pod = BTreeMap::<IpAddr, Vec<(Port, Seen)>>::new();
    for (port, seen) in closed {
        by_pod.entry(port.0).or_default().push((port, seen));
    }
    Ruling::from(by_pod.iter().map(|(pod, ports)| judged(case, *pod, ports)).collect::<Vec<_>>())
}

/// The port that a pod says is closed.
fn refused(case: &Case<'_>, sighting: &Sighting) -> Option<Port> {
    let port = match sighting.what {
        Sight::Reset { source, port, .. } => (source, TCP, port),
        Sight::IcmpError(error) => {
            let quoted = error.quoted;
            let is_its = error.sender == quoted.destination && quoted.protocol == UDP;
            let is_closed = is_its && refusal(&error) == Some(Refusal::Port);
            is_closed.then_some((quoted.destination, UDP, quoted.destination_port))?
        }
        _ => return None,
    };
    let is_server = (1..FIRST_CLIENT_PORT).contains(&port.2);
    (is_server && is_pod(case, port.0)).then_some(port)
}

/// An address of the pod network that is no node's own: neither the first two of a peer's CIDR nor
/// one of this node's.
pub(super) fn is_pod(case: &Case<'_>, address: IpAddr) -> bool {
    let topology = &case.topology;
    if topology.tables.is_none_or(|tables| tables.is_local(address)) {
        return false;
    }
    let of_peer = topology.peer_of(address).is_some_and(|peer| {
        address != peer.gateway && address != crate::topology::nth_address(peer.cidr, 1)
    });
    of_peer || topology.is_own(address)
}

/// Whether refusals are all that comes from a port, as far as flows are listed; flows and refusals
/// are not read in the same instant.
fn is_all(case: &Case<'_>, (pod, protocol, port): Port, refusals: u64) -> bool {
    let Some(traffic) = &case.evidence.traffic else { return false };
    let from_port = traffic
        .flows
        .iter()
        .filter(|flow| (flow.source, flow.protocol, flow.source_port) == (pod, protocol, port));
    let packets: u64 =
        from_port.map(|flow| flow.packets.pod_out.max(flow.packets.overlay_in)).sum();
    match protocol {
        TCP => packets < refusals + ENOUGH,
        _ => packets == 0,
    }
}

fn judged(case: &Case<'_>, pod: IpAddr, ports: &[(Port, Seen)]) -> Judged {
    let seconds = case.evidence.window.seconds;
    let names: Vec<String> = ports.iter().take(NAMED).map(|(port, _)| name(*port)).collect();
    let more = ports.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let lines = ports.iter().take(NAMED).map(|(port, seen)| {
        let by = if port.1 == TCP { "resets" } else { "ICMP errors" };
        let packets = seen.packets;
        format!("{pod} itself refused {} by {packets} {by} in {seconds:.1} s", name(*port))
    });
    Judged {
        finding: RULE.finding(
            format!("Nothing listens on {pod}, {}{more}", names.join(", ")),
            subject(case, pod),
            case.in_window(),
            lines.collect(),
            vec![
                format!("kubectl get pods -A -o wide --field-selector status.podIP={pod}"),
                "(the network is fine: what runs in that pod has crashed, is not ready, or has another \
                 port)"
                    .to_owned(),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: BTreeSet::new(),
        as_break: format!("ports of {pod}"),
    }
}

fn name((_, protocol, port): Port) -> String {
    format!("{} {port}", if protocol == TCP { "TCP" } else { "UDP" })
}

fn subject(case: &Case<'_>, pod: IpAddr) -> Subject {
    let peer = case.topology.peer_of(pod);
    let own = case.topology.own_cidrs.iter().find(|cidr| cidr.contains(&pod));
    Subject {
        kind: SubjectKind::Flow,
        key: pod.to_string(),
        peer: peer.and_then(|peer| peer.node_ip),
        cidr: peer.map(|peer| peer.cidr).or(own.copied()),
        vtep_mac: None,
        interface: None,
        address: Some(pod),
    }
}
