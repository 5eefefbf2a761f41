//! `dns-answer-late`: a DNS server answers when nobody waits any more.
//!
//! Where it gives up and says so, it is [`super::dns_error_rcode`] that tells. Of servers that wait for
//! each other the one nearest to the cause is told.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::Case,
    dns_servers::{behind, subject},
    dns_trouble::Trouble,
    dns_upstreams::{self, Troubled},
    finding::{Confidence, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::evidence::DnsServer;

pub(super) const RULE: Rule = Rule {
    code: "dns-answer-late",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Told,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let troubled = Troubled::of(case);
    let late = troubled.servers.iter().filter(|(_, (_, trouble))| trouble.is_late());
    let judged = late.map(|(address, (server, trouble))| {
        let supports = BTreeSet::from([Effect::LateAnswers(*address)]);
        let is_handed_on = troubled.is_handed_on(*address, &supports);
        let rank = if is_handed_on { Rank::Inferred } else { RULE.rank };
        let explains = troubled.by_lateness(*address);
        Judged { rank, supports, explains, ..judged(case, (*address, server), trouble) }
    });
    Ruling::from(judged.collect::<Vec<_>>())
}

fn judged(case: &Case<'_>, (address, server): (IpAddr, &DnsServer), trouble: &Trouble) -> Judged {
    let Trouble { answers, late, late_errors, .. } = *trouble;
    let mean = trouble.late_seconds / late as f64;
    let timeout = case.evidence.dns.as_ref().map_or(0.0, |dns| dns.timeout_seconds);
    let mut lines = vec![format!(
        "{late} of {answers} answers came after more than {timeout} s, {mean:.1} s on average"
    )];
    if late_errors > 0 {
        lines.push(format!("{late_errors} of them were {}", trouble.names().join(" or ")));
    }
    lines.extend(dns_upstreams::lines(case, (address, server)));
    let who = format!("{address}{}", behind(address, server));
    Judged {
        finding: RULE.finding(
            format!("The DNS server {who} answers after {mean:.1} s"),
            subject(address),
            case.in_window(),
            lines,
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
