//! `conntrack-insert-race`: a resolver asks for A and AAAA from one socket at once, both queries are
//! translated at the same time, and the kernel drops the one that finds the other's entry in its place.
//! The client waits five seconds then.
//!
//! Kernels since 5.0 resolve most of these races. The proof is that as many entries could not be
//! inserted as queries to a service ended between the pod's bridge and the tunnel, and that of their
//! sockets the other query was answered.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use super::{
    case::Case,
    dns_servers::{PORT, UDP, of, subject},
    dropped::ENOUGH,
    finding::{Confidence, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::evidence::{Conntrack, DnsServer, Flow, Stage, StagePair};

pub(super) const RULE: Rule = Rule {
    code: "conntrack-insert-race",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Kernel,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let conntrack = case.evidence.statistics.as_ref().and_then(|it| it.conntrack);
    let Some(conntrack) = conntrack.filter(|it| it.insert_failed >= ENOUGH && it.dropped == 0)
    else {
        return Ruling::default();
    };
    let judged = of(case).filter_map(|(address, server)| {
        let lost = lost_while_translated(server);
        let halves = half_answered(case, address);
        let is_told = lost >= ENOUGH && halves >= ENOUGH && conntrack.insert_failed >= lost;
        is_told.then(|| judged(case, address, server, &conntrack, [lost, halves]))
    });
    Ruling::from(judged.collect::<Vec<_>>())
}

/// Queries that came out of a pod and not into the tunnel.
fn lost_while_translated(server: &DnsServer) -> u64 {
    let lost = server.timeouts.iter().filter(|it| it.query == Stage::PodOut);
    lost.filter(|it| it.answer.is_none()).map(|it| it.queries).sum()
}

/// Sockets that got an answer to some of their queries to a service, and not to all.
fn half_answered(case: &Case<'_>, service: IpAddr) -> u64 {
    let flows = || case.evidence.traffic.iter().flat_map(|traffic| &traffic.flows);
    let is_answer =
        |flow: &&Flow| (flow.source, flow.protocol, flow.source_port) == (service, UDP, PORT);
    let answers: HashMap<(IpAddr, u16), u64> = flows()
        .filter(is_answer)
        .map(|flow| ((flow.destination, flow.destination_port), flow.packets.pod_in))
        .collect();
    let is_half = |flow: &&Flow| {
        let to = (flow.destination, flow.protocol, flow.destination_port);
        let answered = answers.get(&(flow.source, flow.source_port)).copied().unwrap_or(0);
        to == (service, UDP, PORT) && answered > 0 && answered < flow.packets.pod_out
    };
    flows().filter(is_half).count() as u64
}

fn judged(
    case: &Case<'_>,
    address: IpAddr,
    server: &DnsServer,
    conntrack: &Conntrack,
    [lost, halves]: [u64; 2],
) -> Judged {
    let seconds = case.evidence.window.seconds;
    let endpoints = server.endpoints().into_iter();
    let peers = endpoints.filter_map(|endpoint| case.topology.peer_of(endpoint));
    let losses = peers.map(|peer| Effect::Loss(peer.cidr, StagePair::PodToOverlay));
    Judged {
        finding: RULE.finding(
            format!(
                "Queries to the DNS service {address} are lost where their address is translated"
            ),
            subject(address),
            case.in_window(),
            vec![
                format!(
                    "{lost} of {} queries in {seconds:.1} s were seen at pod_out and not at \
                     overlay_out",
                    server.queries
                ),
                format!(
                    "{halves} sockets got an answer to one of their queries, and not to the other"
                ),
                format!(
                    "{} connections could not be entered into the connection tracking table \
                     (insert_failed)",
                    conntrack.insert_failed
                ),
            ],
            vec![
                "(two queries at once from one socket race for one entry: use NodeLocal DNS, or \
                 `options single-request-reopen` in the pods' resolv.conf)"
                    .to_owned(),
                "(newer kernels resolve it: `conntrack -S` counts clash_resolve there)".to_owned(),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: losses.collect(),
        as_break: format!("dns {address}"),
    }
}
