//! `dns-error-rcode`: a DNS server answers, and says that it cannot. The network is fine.
//!
//! That a name does not exist is no error: a look-up tries several (`ndots:5`). Of servers that hand on
//! each other's errors the one nearest to the cause is told.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::Case,
    dns_servers::{behind, subject},
    dns_trouble::Trouble,
    dns_upstreams::{self, Troubled},
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

fn judge(case: &Case<'_>) -> Ruling {
    let troubled = Troubled::of(case);
    let erring = troubled.servers.iter().filter(|(_, (_, trouble))| trouble.is_erring());
    let judged = erring.map(|(address, (server, trouble))| {
        let errors = trouble.errors().map(|(code, _)| Effect::DnsErrors(*address, code));
        let supports = errors.collect();
        let is_handed_on = troubled.is_handed_on(*address, &supports);
        let rank = if is_handed_on { Rank::Inferred } else { RULE.rank };
        let explains = troubled.by_errors(*address);
        Judged { rank, supports, explains, ..judged(case, (*address, server), trouble) }
    });
    Ruling::from(judged.collect::<Vec<_>>())
}

fn judged(case: &Case<'_>, (address, server): (IpAddr, &DnsServer), trouble: &Trouble) -> Judged {
    let Trouble { answers, late_errors, .. } = *trouble;
    let seconds = case.evidence.window.seconds;
    let line = |(code, times)| {
        format!("{times} of {answers} answers in {seconds:.1} s were {}", rcode(code))
    };
    let mut lines: Vec<String> = trouble.errors().map(line).collect();
    if let (1.., Some(dns)) = (late_errors, &case.evidence.dns) {
        let timeout = dns.timeout_seconds;
        lines.push(format!("{late_errors} of them came after more than {timeout} s"));
    }
    lines.extend(dns_upstreams::lines(case, (address, server)));
    let who = format!("{address}{}", behind(address, server));
    Judged {
        finding: RULE.finding(
            format!("The DNS server {who} answers {}", trouble.names().join(" and ")),
            subject(address),
            case.in_window(),
            lines,
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
