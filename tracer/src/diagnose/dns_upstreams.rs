//! DNS servers in trouble, and which of them hand on what others tell them: CoreDNS asks its upstream,
//! and behind a service's address answers a pod.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    case::Case, dns_answer_late::is_late, dns_error_rcode::errors, dns_servers, dns_servers::PORT,
    sighted::UDP,
};
use crate::evidence::{DnsServer, Flow};

/// How many servers that one asks are told.
const TOLD: usize = 3;

/// The DNS servers of a case that answer with errors or too late.
pub(super) struct Troubled<'a> {
    pub(super) servers: Vec<(IpAddr, &'a DnsServer)>,
    /// For each of them those of the others that it asks, or that those ask.
    upstreams: BTreeMap<IpAddr, BTreeSet<IpAddr>>,
}

// === impl Troubled ===

impl<'a> Troubled<'a> {
    pub(super) fn of(case: &Case<'a>) -> Self {
        let is_troubled = |server: &DnsServer| is_late(server) || errors(server).is_some();
        let servers: Vec<_> =
            dns_servers::of(case).filter(|(_, server)| is_troubled(server)).collect();
        let upstreams = upstreams(case, &servers);
        Self { servers, upstreams }
    }

    /// Those that hand on what a server says, at once or by others.
    pub(super) fn askers_of(&self, server: IpAddr) -> impl Iterator<Item = IpAddr> {
        let askers = self.upstreams.iter().filter(move |(_, asked)| asked.contains(&server));
        askers.map(|(asker, _)| *asker)
    }

    /// Those whose answers a server hands on.
    pub(super) fn upstreams_of(&self, server: IpAddr) -> impl Iterator<Item = &DnsServer> {
        let is_asked = move |it: &IpAddr| self.upstreams[&server].contains(it);
        self.servers.iter().filter(move |it| is_asked(&it.0)).map(|it| it.1)
    }
}

/// What became of the queries of a server to those that it asks, as far as this node sees them: a line
/// for each, those first that keep most waiting.
pub(super) fn lines(case: &Case<'_>, server: (IpAddr, &DnsServer)) -> Vec<String> {
    let endpoints = server.1.endpoints();
    let is_asked = |it: &(IpAddr, &DnsServer)| {
        it.0 != server.0 && !endpoints.contains(&it.0) && asks(case, server, it.0)
    };
    let mut asked: Vec<_> = dns_servers::of(case).filter(is_asked).collect();
    asked.sort_by_key(|it| Reverse(it.1.timed_out()));
    let line = |(address, asked): &(IpAddr, &DnsServer)| {
        let (queries, answered) = (asked.queries, asked.answered());
        format!("it asks {address}, which answered {answered} of {queries} queries in time")
    };
    asked.iter().take(TOLD).map(line).collect()
}

fn upstreams(
    case: &Case<'_>,
    servers: &[(IpAddr, &DnsServer)],
) -> BTreeMap<IpAddr, BTreeSet<IpAddr>> {
    let names = || servers.iter().map(|(address, _)| *address);
    let asked = |server: &(IpAddr, &DnsServer)| {
        names().filter(|other| *other != server.0 && asks(case, *server, *other)).collect()
    };
    let mut upstreams: BTreeMap<IpAddr, BTreeSet<IpAddr>> =
        servers.iter().map(|server| (server.0, asked(server))).collect();
    // One step further each time; none is farther than there are servers.
    for _ in servers {
        let known = upstreams.clone();
        for asked in upstreams.values_mut() {
            let further = asked.iter().flat_map(|it| &known[it]).copied();
            let further: Vec<IpAddr> = further.collect();
            asked.extend(further);
        }
    }
    for (server, asked) in &mut upstreams {
        asked.remove(server);
    }
    upstreams
}

/// Whether `other` is the pod behind a server's address, or is asked by that pod.
fn asks(case: &Case<'_>, (address, server): (IpAddr, &DnsServer), other: IpAddr) -> bool {
    let mut pods = server.endpoints();
    pods.push(address);
    let is_question = |flow: &&Flow| {
        let asked = flow.asked_as.map_or(flow.destination, |it| it.ip());
        (flow.protocol, flow.destination_port) == (UDP, PORT)
            && (asked == other || flow.destination == other)
    };
    let questions = case.evidence.traffic.iter().flat_map(|it| &it.flows).filter(is_question);
    let mut of_pods = questions.filter(|flow| pods.contains(&flow.source));
    pods.contains(&other) || of_pods.any(|flow| case.topology.is_own(flow.source))
}
