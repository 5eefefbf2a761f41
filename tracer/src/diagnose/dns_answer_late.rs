//! `dns-answer-late`: a DNS server answers when nobody waits any more.
//!
//! Where it gives up and says so, it is [`super::dns_error_rcode`] that tells. Of servers that wait for
//! each other the one nearest to the cause is told.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::Case,
    dns_error_rcode::is_error,
    dns_servers::{behind, subject},
    dns_upstreams::{self, Troubled},
    finding::{Confidence, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::evidence::{DnsAnswers, DnsServer};

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
    let troubled = Troubled::of(case);
    let late = troubled.servers.iter().filter(|(_, server)| is_late(server));
    let judged = late.map(|(address, server)| {
        // The server that another one waits for is nearer to the cause.
        let is_handed_on = troubled.upstreams_of(*address).any(is_late);
        let rank = if is_handed_on { Rank::Inferred } else { RULE.rank };
        // Who waits too long answers late itself, or gives up.
        let explains = troubled
            .askers_of(*address)
            .flat_map(|it| [Effect::LateAnswers(it), Effect::DnsErrors(it)])
            .collect();
        let supports = BTreeSet::from([Effect::LateAnswers(*address)]);
        Judged { rank, supports, explains, ..judged(case, *address, server) }
    });
    Ruling::from(judged.collect::<Vec<_>>())
}

/// Whether a server answers too late often enough.
pub(super) fn is_late(server: &DnsServer) -> bool {
    let (late, _) = late(server);
    late >= ENOUGH && late * ONE_IN >= late + server.answered()
}

/// Its late answers that are no errors, and their latencies together in seconds.
fn late(server: &DnsServer) -> (u64, f64) {
    let late: Vec<&DnsAnswers> = server.late.iter().filter(|it| !is_error(it)).collect();
    (late.iter().map(|it| it.answers).sum(), late.iter().map(|it| it.seconds).sum())
}

fn judged(case: &Case<'_>, address: IpAddr, server: &DnsServer) -> Judged {
    let (late, seconds) = late(server);
    let mean = seconds / late as f64;
    let timeout = case.evidence.dns.as_ref().map_or(0.0, |dns| dns.timeout_seconds);
    let mut lines = vec![format!(
        "{late} of {} answers came after more than {timeout} s, {mean:.1} s on average",
        late + server.answered()
    )];
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
