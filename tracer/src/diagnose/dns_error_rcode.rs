//! `dns-error-rcode`: a DNS server answers, and says that it cannot. The network is fine.
//!
//! That a name does not exist is no error: a look-up tries several (`ndots:5`). Of servers that hand on
//! each other's errors the one nearest to the cause is told.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::Case,
    dns_servers::{behind, of, subject},
    dns_upstreams::upstreams,
    finding::{Confidence, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{evidence::DnsServer, export::dns::rcode};

pub(super) const RULE: Rule = Rule {
    code: "dns-error-rcode",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Told,
    judge,
};

const SERVFAIL: u8 = 2;
const REFUSED: u8 = 5;
/// How many errors mean something, and as which part of all answers.
const ENOUGH: u64 = 5;
const ONE_IN: u64 = 10;

fn judge(case: &Case<'_>) -> Ruling {
    let wrong: Vec<_> =
        of(case).filter_map(|(address, server)| Some((address, server, errors(server)?))).collect();
    let servers: Vec<_> = wrong.iter().map(|(address, server, _)| (*address, *server)).collect();
    let upstreams = upstreams(case, &servers);
    let judged = wrong.into_iter().map(|(address, server, errors)| {
        // The server that another one asks is nearer to the cause.
        let rank = if upstreams[&address].is_empty() { RULE.rank } else { Rank::Inferred };
        let asks_it = upstreams.iter().filter(|(_, asked)| asked.contains(&address));
        let explains = asks_it.map(|(server, _)| Effect::DnsErrors(*server)).collect();
        let supports = BTreeSet::from([Effect::DnsErrors(address)]);
        Judged { rank, supports, explains, ..judged(case, address, server, errors) }
    });
    Ruling::from(judged.collect::<Vec<_>>())
}

/// How many errors of each kind a server answered, where that is much.
fn errors(server: &DnsServer) -> Option<[(&'static str, u64); 2]> {
    let count = |code: u8| -> u64 {
        server.answers.iter().filter(|it| it.rcode == code).map(|it| it.answers).sum()
    };
    let errors = [SERVFAIL, REFUSED].map(|code| (rcode(code), count(code)));
    let sum: u64 = errors.iter().map(|(_, answers)| answers).sum();
    (sum >= ENOUGH && sum * ONE_IN >= server.answered()).then_some(errors)
}

fn judged(
    case: &Case<'_>,
    address: IpAddr,
    server: &DnsServer,
    errors: [(&'static str, u64); 2],
) -> Judged {
    let told = errors.into_iter().filter(|(_, answers)| *answers > 0);
    let names: Vec<&str> = told.clone().map(|(name, _)| name).collect();
    let lines = told.map(|(name, answers)| {
        let seconds = case.evidence.window.seconds;
        format!("{answers} of {} answers in {seconds:.1} s were {name}", server.answered())
    });
    let who = format!("{address}{}", behind(address, server));
    Judged {
        finding: RULE.finding(
            format!("The DNS server {who} answers {}", names.join(" and ")),
            subject(address),
            case.in_window(),
            lines.collect(),
            vec![
                "kubectl -n kube-system logs -l k8s-app=kube-dns --tail=50".to_owned(),
                "(the network is fine: the server cannot reach its upstream or the API, or refuses \
                 the client)"
                    .to_owned(),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: BTreeSet::new(),
        as_break: format!("dns {address}"),
    }
}
