//! DNS servers in trouble, and which of them hand on what others tell them: CoreDNS asks its upstream,
//! and behind a service's address answers a pod.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    case::Case,
    dns_servers::{self, PORT},
    dns_trouble::{SERVFAIL, Trouble},
    rule::Effect,
    sighted::UDP,
};
use crate::evidence::{DnsServer, Flow};

/// How many servers that one asks are told.
const TOLD: usize = 3;
/// A server is behind what another one does where it did so once for so many times of the other.
const SHARE: u64 = 3;

/// The DNS servers of a case that answer with errors or too late.
pub(super) struct Troubled<'a> {
    pub(super) servers: BTreeMap<IpAddr, (&'a DnsServer, Trouble)>,
    /// For each of them those of the others that it asks, or that those ask.
    upstreams: BTreeMap<IpAddr, BTreeSet<IpAddr>>,
}

// === impl Troubled ===

impl<'a> Troubled<'a> {
    pub(super) fn of(case: &Case<'a>) -> Self {
        let all = dns_servers::of(case).map(|(it, server)| (it, (server, Trouble::of(server))));
        let servers: BTreeMap<_, _> =
            all.filter(|(_, (_, it))| it.is_late() || it.is_erring()).collect();
        let of_case: Vec<_> = servers.iter().map(|(it, (server, _))| (*it, *server)).collect();
        let upstreams = upstreams(case, &of_case);
        Self { servers, upstreams }
    }

    /// What comes of a server's lateness: who waits for it answers late too, or gives up.
    pub(super) fn by_lateness(&self, server: IpAddr) -> BTreeSet<Effect> {
        let (upstream, trouble) = self.servers[&server];
        let waited = upstream.timed_out().max(trouble.late);
        self.of_askers(server, |asker, trouble| {
            let is_late = trouble.late <= SHARE * waited;
            let gives_up = trouble.errors().any(|it| it.0 == SERVFAIL && it.1 <= SHARE * waited);
            let late = is_late.then_some(Effect::LateAnswers(asker));
            late.into_iter().chain(gives_up.then_some(Effect::DnsErrors(asker, SERVFAIL))).collect()
        })
    }

    /// What comes of a server's errors: who asks it hands them on.
    pub(super) fn by_errors(&self, server: IpAddr) -> BTreeSet<Effect> {
        let own: BTreeMap<u8, u64> = self.servers[&server].1.errors().collect();
        let is_of_it = |(code, times): &(u8, u64)| {
            own.get(code).is_some_and(|its_own| *times <= SHARE * its_own)
        };
        self.of_askers(server, |asker, trouble| {
            let handed_on = trouble.errors().filter(is_of_it);
            handed_on.map(|(code, _)| Effect::DnsErrors(asker, code)).collect()
        })
    }

    /// Whether another server is behind all of this.
    pub(super) fn is_handed_on(&self, server: IpAddr, supports: &BTreeSet<Effect>) -> bool {
        self.upstreams[&server].iter().any(|upstream| {
            let trouble = self.servers[upstream].1;
            let late = trouble.is_late().then(|| self.by_lateness(*upstream));
            let erring = trouble.is_erring().then(|| self.by_errors(*upstream));
            [late, erring].iter().flatten().any(|explained| supports.is_subset(explained))
        })
    }

    /// What `name` makes of those that hand on what a server says, at once or by others.
    fn of_askers(
        &self,
        server: IpAddr,
        name: impl Fn(IpAddr, &Trouble) -> Vec<Effect>,
    ) -> BTreeSet<Effect> {
        let askers = self.upstreams.iter().filter(|(_, asked)| asked.contains(&server));
        askers.flat_map(|(asker, _)| name(*asker, &self.servers[asker].1)).collect()
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
    // Of all that pods of this node asked.
    let line = |(address, asked): &(IpAddr, &DnsServer)| {
        let answered = asked.answered();
        let queries = answered + asked.timed_out();
        format!(
            "it asks {address}, which answered {answered} of {queries} queries of this node in time"
        )
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
