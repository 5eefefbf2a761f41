//! DNS servers as rules speak of them, and whose queries a fault of the overlay has cost.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::Case,
    finding::{Subject, SubjectKind},
    merge::Cause,
    rule::Effect,
};
use crate::evidence::{DnsServer, DnsTimeouts, Evidence, Family, Flow, Stage, StagePair};

pub(super) const UDP: u8 = 17;
pub(super) const PORT: u16 = 53;

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
            _ => false,
        }
    })
}

const fn leaks(flow: &Flow) -> bool {
    flow.leaked > 0 && flow.protocol == UDP && flow.destination_port == PORT
}
