//! `dns-server-overloaded`: queries reach a DNS server that does not read them fast enough. Its socket
//! has no room, and the kernel drops them.
//!
//! A kernel without reasons names a function that drops datagrams with a wrong checksum too: there it
//! is likely, and only of a server that answers others.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    case::Case,
    counted::told_of,
    dns_pods::{here, queried},
    dns_servers::subject,
    dropped::{Dropped, Dropper, Told, lasting},
    finding::{Confidence, Finding, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::evidence::DnsServer;

pub(super) const RULE: Rule = Rule {
    code: "dns-server-overloaded",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

/// A query in so many at least is lost: bursts overflow once in a while.
const ONE_IN: u64 = 100;

fn judge(case: &Case<'_>) -> Ruling {
    let servers: BTreeMap<IpAddr, &DnsServer> = here(case).collect();
    let found = lasting(case, |drop| queried(case, drop, Dropper::Socket));
    let judged = found.iter().filter_map(|((pod, told), dropped)| {
        let server = servers.get(pod).copied();
        let confidence = confidence(*told, server)?;
        let queries = server.map_or(0, |server| server.queries + server.retries);
        let is_much = dropped.packets * ONE_IN >= queries;
        is_much.then(|| judged(case, *pod, server, dropped, confidence))
    });
    Ruling::from(judged.collect::<Vec<_>>())
}

fn confidence(told: Told, server: Option<&DnsServer>) -> Option<Confidence> {
    match told {
        Told::Reason | Told::Function => Some(Confidence::Certain),
        Told::Perhaps => server.filter(|server| server.answered() > 0).map(|_| Confidence::Likely),
    }
}

fn judged(
    case: &Case<'_>,
    pod: IpAddr,
    server: Option<&DnsServer>,
    dropped: &Dropped<'_>,
    confidence: Confidence,
) -> Judged {
    let seconds = case.evidence.window.seconds;
    let mut evidence =
        vec![format!("in the network namespace of {pod} {}", told_of(dropped, seconds))];
    evidence.extend(server.map(|server| {
        let (answered, queries) = (server.answered(), server.queries);
        format!("it answered {answered} of {queries} queries in time")
    }));
    let finding = RULE.finding(
        format!("The DNS server {pod} does not read its queries fast enough: its socket overflows"),
        subject(pod),
        case.in_window(),
        evidence,
        vec![
            "kubectl -n kube-system get pods -l k8s-app=kube-dns -o wide".to_owned(),
            "kubectl -n kube-system scale deployment coredns --replicas=N      (more servers, or more \
             CPU for them; NodeLocal DNS takes load off them)"
                .to_owned(),
        ],
    );
    let effects = BTreeSet::from([Effect::InPod(pod)]);
    Judged {
        finding: Finding { confidence, ..finding },
        rank: RULE.rank,
        supports: effects.clone(),
        explains: effects,
        as_break: format!("dns {pod}"),
    }
}
