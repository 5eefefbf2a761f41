//! `dns-error-rcode`: a DNS server answers, and says that it cannot. The network is fine.
//!
//! That a name does not exist is no error: a look-up tries several (`ndots:5`). Of servers that hand on
//! each other's errors the one nearest to the cause is told.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::Case,
    dns_servers::{behind, subject},
    dns_upstreams::{self, Troubled},
    finding::{Confidence, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::{DnsAnswers, DnsServer},
    export::dns::rcode,
};

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
    let troubled = Troubled::of(case);
    let judged = troubled.servers.iter().filter_map(|(address, server)| {
        let errors = errors(server)?;
        // The server that another one asks is nearer to the cause.
        let is_handed_on = troubled.upstreams_of(*address).next().is_some();
        let rank = if is_handed_on { Rank::Inferred } else { RULE.rank };
        let explains = troubled.askers_of(*address).map(Effect::DnsErrors).collect();
        let supports = BTreeSet::from([Effect::DnsErrors(*address)]);
        Some(Judged { rank, supports, explains, ..judged(case, *address, server, errors) })
    });
    Ruling::from(judged.collect::<Vec<_>>())
}

/// Whether answers say that the server cannot, or does not want to.
pub(super) const fn is_error(answers: &DnsAnswers) -> bool {
    matches!(answers.rcode, SERVFAIL | REFUSED)
}

/// How many errors of each kind a server answered, in time or too late, where that is much.
pub(super) fn errors(server: &DnsServer) -> Option<[(&'static str, u64); 2]> {
    let all = || server.answers.iter().chain(&server.late);
    let count =
        |code: u8| -> u64 { all().filter(|it| it.rcode == code).map(|it| it.answers).sum() };
    let errors = [SERVFAIL, REFUSED].map(|code| (rcode(code), count(code)));
    let sum: u64 = errors.iter().map(|(_, answers)| answers).sum();
    (sum >= ENOUGH && sum * ONE_IN >= answered(server)).then_some(errors)
}

/// Answers, in time or too late.
fn answered(server: &DnsServer) -> u64 {
    server.answered() + server.answered_late()
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
        format!("{answers} of {} answers in {seconds:.1} s were {name}", answered(server))
    });
    let lines =
        lines.chain(too_late(case, server)).chain(dns_upstreams::lines(case, (address, server)));
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

/// How many of the errors came when nobody waited any more: the server waits in vain for another.
fn too_late(case: &Case<'_>, server: &DnsServer) -> Option<String> {
    let late: u64 = server.late.iter().filter(|it| is_error(it)).map(|it| it.answers).sum();
    let timeout = case.evidence.dns.as_ref()?.timeout_seconds;
    (late > 0).then(|| format!("{late} of them came after more than {timeout} s"))
}
