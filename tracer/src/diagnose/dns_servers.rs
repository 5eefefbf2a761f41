//! DNS servers as rules speak of them, and whose queries a fault of the overlay has cost.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    case::Case,
    finding::{Subject, SubjectKind},
    merge::Cause,
    pod_port_closed::is_pod,
    rule::Effect,
    service_addresses::is_translated_for,
    sighted::{ENOUGH, ENOUGH_ERRORS, Refusal, Seen, UDP, error_of, lasting, refusal},
};
pub(super) use crate::evidence::next_to_none;
use crate::evidence::{
    DnsServer, DnsTimeouts, Evidence, Family, Flow, IcmpError, Sighting, Stage, StagePair,
};

/// The port of DNS.
pub(super) const PORT: u16 = 53;
/// How many queries no scan asks of one server in a window.
const MANY: u64 = 5;

/// The servers of a case's IP version, with their addresses.
pub(super) fn of<'a>(case: &Case<'a>) -> impl Iterator<Item = (IpAddr, &'a DnsServer)> {
    let family = case.topology.family;
    let servers = case.evidence.dns.iter().flat_map(|dns| &dns.servers);
    servers.filter_map(move |server| {
        let address = server.server.filter(|it| Family::of(*it) == family)?;
        Some((address, server))
    })
}

/// A finding about a server.
pub(super) fn subject(address: IpAddr) -> Subject {
    Subject {
        kind: SubjectKind::DnsServer,
        key: address.to_string(),
        peer: None,
        cidr: None,
        vtep_mac: None,
        interface: None,
        address: Some(address),
    }
}

/// Who really answers for a server, in words.
pub(super) fn behind(address: IpAddr, server: &DnsServer) -> String {
    let endpoints = server.endpoints();
    let others: Vec<String> =
        endpoints.iter().filter(|it| **it != address).map(ToString::to_string).collect();
    if others.is_empty() { String::new() } else { format!(" ({})", others.join(", ")) }
}

/// Whether pods ask a server again and again, and get no answer.
pub(super) fn is_asked_in_vain(case: &Case<'_>, address: IpAddr) -> bool {
    of(case).any(|(server, of_server)| {
        server == address
            && of_server.queries >= ENOUGH
            && next_to_none(of_server.answered() + of_server.answered_late(), of_server.queries)
    })
}

/// Pods that are asked for names and answer by their own address that nobody listens there.
pub(super) fn closed(case: &Case<'_>) -> BTreeMap<IpAddr, Seen> {
    let refused =
        |sighting| Some(refused_itself(sighting)?.sender).filter(|sender| is_pod(case, *sender));
    let mut closed = lasting(case, ENOUGH_ERRORS, refused);
    closed.retain(|pod, _| is_server(case, *pod) && !answers(case, *pod));
    closed
}

/// Servers that this node itself has, under addresses of its own, and that it answers for that nobody
/// listens there: one in the host's network, or NodeLocal DNS, which has the DNS service's address too.
/// Where the address is translated (a port of the host, a load balancer's address), an error of the pod
/// behind it bears the same names.
pub(super) fn closed_here(case: &Case<'_>) -> BTreeMap<IpAddr, Seen> {
    let Some(tables) = case.topology.tables else { return BTreeMap::new() };
    let refused = |sighting: &Sighting| {
        let IcmpError { sender, quoted, .. } = refused_itself(sighting)?;
        let is_to_pod = case.topology.bridge.is_some_and(|link| link.name == sighting.interface)
            && case.topology.is_own(quoted.source)
            && !tables.is_local(quoted.source);
        (is_to_pod && tables.is_of_node(sender)).then_some(sender)
    };
    let mut closed = lasting(case, ENOUGH_ERRORS, refused);
    closed.retain(|address, _| {
        is_server(case, *address) && !answers(case, *address) && !is_translated(case, *address)
    });
    closed
}

/// An error by which whoever was asked says that nobody listens at the port of DNS.
fn refused_itself(sighting: &Sighting) -> Option<IcmpError> {
    error_of(sighting).filter(|error| {
        let quoted = error.quoted;
        refusal(error) == Some(Refusal::Port)
            && error.sender == quoted.destination
            && (quoted.protocol, quoted.destination_port) == (UDP, PORT)
    })
}

/// Whether somebody else stands behind a server's address.
pub(super) fn is_translated(case: &Case<'_>, address: IpAddr) -> bool {
    let mut flows = case.evidence.traffic.iter().flat_map(|traffic| &traffic.flows);
    let is_behind =
        |server: &DnsServer| server.endpoints().iter().any(|endpoint| *endpoint != address);
    of(case).any(|(server, row)| server == address && is_behind(row))
        || flows.any(|flow| is_translated_for(flow, address))
}

/// Whether an address is meant to answer queries: it stands behind a service's, or is asked all the
/// time. A scan asks once or twice.
fn is_server(case: &Case<'_>, pod: IpAddr) -> bool {
    of(case).any(|(address, server)| {
        let is_behind = address != pod && server.endpoints().contains(&pod);
        is_behind || address == pod && server.queries >= MANY
    })
}

/// Whether an address answered more than next to none of a server's queries.
fn answers(case: &Case<'_>, pod: IpAddr) -> bool {
    of(case).any(|(address, server)| {
        let answers = server.answers.iter().chain(&server.late);
        let its = answers.filter(|it| it.endpoint.unwrap_or(address) == pod);
        !next_to_none(its.map(|it| it.answers).sum(), server.queries)
    })
}

/// Adds to what a fault breaks the servers whose queries died where its packets do.
pub(super) fn add_breaks(causes: &mut [Cause], evidence: &Evidence) {
    let Some(dns) = &evidence.dns else { return };
    let flows = evidence.traffic.as_ref().map_or(&[][..], |traffic| &traffic.flows);
    for cause in causes {
        let explains = &cause.judged.explains;
        let is_hit = |server: &&DnsServer| {
            server.timeouts.iter().any(|lost| is_explained(explains, server, lost, flows))
        };
        let hit = dns.servers.iter().filter(is_hit).filter_map(|it| it.server);
        let hit: Vec<String> = hit.map(|address| format!("dns {address}")).collect();
        super::merge::add_new(&mut cause.judged.finding.breaks, hit);
    }
}

/// Whether queries were lost by what a cause explains.
fn is_explained(
    explains: &BTreeSet<Effect>,
    server: &DnsServer,
    lost: &DnsTimeouts,
    flows: &[Flow],
) -> bool {
    let to = lost.endpoint.or(server.server);
    explains.iter().any(|effect| {
        let Some(cidr) = effect.cidr() else { return false };
        let goes_there = to.is_some_and(|address| cidr.contains(&address));
        match (effect, lost.query, lost.answer) {
            // The address behind a service is not known yet at the first stage, but where it leaked.
            (Effect::Leak(_), Stage::PodOut, None) => {
                goes_there || flows.iter().any(|flow| leaks(flow) && cidr.contains(&flow.destination))
            }
            (Effect::Loss(_, StagePair::PodToOverlay), Stage::PodOut, None)
            | (Effect::Loss(_, StagePair::OverlayToWire), Stage::OverlayOut, None)
            | (
                Effect::Loss(_, StagePair::WireToPeer) | Effect::Silence(_) | Effect::Refused(_),
                Stage::WireOut,
                None,
            )
            | (Effect::Loss(_, StagePair::WireToOverlay), Stage::WireOut, Some(Stage::WireIn))
            | (Effect::Loss(_, StagePair::OverlayToPod), Stage::WireOut, Some(Stage::OverlayIn)) => {
                goes_there
            }
            // On the server's node the peer is the one of those who ask.
            (Effect::Loss(_, StagePair::WireToOverlay), Stage::WireIn, None)
            | (Effect::Loss(_, StagePair::OverlayToPod), Stage::OverlayIn, None) => {
                flows.iter().any(|flow| is_question(flow, to) && cidr.contains(&flow.source))
            }
            (
                Effect::Loss(_, StagePair::PodToOverlay) | Effect::Leak(_),
                Stage::PodIn,
                Some(Stage::PodOut),
            )
            | (Effect::Loss(_, StagePair::OverlayToWire), Stage::PodIn, Some(Stage::OverlayOut)) => {
                flows.iter().any(|flow| is_answer(flow, to) && cidr.contains(&flow.destination))
            }
            _ => false,
        }
    })
}

const fn leaks(flow: &Flow) -> bool {
    flow.leaked > 0 && flow.protocol == UDP && flow.destination_port == PORT
}

/// Whether a flow came out of the tunnel to ask a server on this node, and no pod got it.
fn is_question(flow: &Flow, server: Option<IpAddr>) -> bool {
    let packets = &flow.packets;
    Some(flow.destination) == server
        && (flow.protocol, flow.destination_port) == (UDP, PORT)
        && packets.wire_in + packets.overlay_in > 0
        && packets.pod_in == 0
}

/// Whether a flow is what a server on this node answers, and did not leave in the tunnel.
fn is_answer(flow: &Flow, server: Option<IpAddr>) -> bool {
    Some(flow.source) == server
        && (flow.protocol, flow.source_port) == (UDP, PORT)
        && flow.packets.pod_out > 0
        && flow.packets.wire_out == 0
}
