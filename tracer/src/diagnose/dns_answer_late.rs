//! `dns-answer-late`: a DNS server answers when nobody waits any more.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::Case,
    dns_servers::{behind, of, subject},
    finding::{Confidence, Severity},
    rule::{Judged, Rank, Rule, Ruling},
};
use crate::evidence::DnsServer;

pub(super) const RULE: Rule = Rule {
    code: "dns-answer-late",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Told,
    judge,
};

/// How many late answers mean something, and as which part of all answers: one name whose own
/// server is slow is no fault of this one.
const ENOUGH: u64 = 3;
const ONE_IN: u64 = 10;

fn judge(case: &Case<'_>) -> Ruling {
    let judged = of(case).filter_map(|(address, server)| {
        let late = server.answered_late();
        let is_much = late >= ENOUGH && late * ONE_IN >= late + server.answered();
        is_much.then(|| judged(case, address, server))
    });
    Ruling::from(judged.collect::<Vec<_>>())
}

fn judged(case: &Case<'_>, address: IpAddr, server: &DnsServer) -> Judged {
    let late = server.answered_late();
    let seconds: f64 = server.late.iter().map(|it| it.seconds).sum();
    let mean = seconds / late as f64;
    let timeout = case.evidence.dns.as_ref().map_or(0.0, |dns| dns.timeout_seconds);
    let who = format!("{address}{}", behind(address, server));
    Judged {
        finding: RULE.finding(
            format!("The DNS server {who} answers after {mean:.1} s"),
            subject(address),
            case.in_window(),
            vec![format!(
                "{late} of {} answers came after more than {timeout} s, {mean:.1} s on average",
                late + server.answered()
            )],
            vec![
                "kubectl -n kube-system logs -l k8s-app=kube-dns --tail=50".to_owned(),
                "(the answers arrive: the server is slow, mostly because its upstream is)"
                    .to_owned(),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: BTreeSet::new(),
        as_break: format!("dns {address}"),
    }
}
