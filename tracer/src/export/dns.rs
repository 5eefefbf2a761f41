//! What the exporters say of a DNS server, each in its form.

use std::collections::BTreeMap;

use tracer_common::dns::LATENCY_BOUNDS;

use crate::evidence::{Dns, DnsServer, Stage};

/// Servers that are told one by one in the text.
const MOST_SERVERS: usize = 5;

/// The name of an answer's code; few have one of their own (RFC 6895, section 2.3).
#[must_use]
pub(crate) const fn rcode(code: u8) -> &'static str {
    match code {
        0 => "NOERROR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        5 => "REFUSED",
        _ => "other",
    }
}

/// The answers in time by code.
pub(super) fn rcodes(server: &DnsServer) -> BTreeMap<&'static str, u64> {
    let mut sums = BTreeMap::new();
    for it in &server.answers {
        *sums.entry(rcode(it.rcode)).or_insert(0) += it.answers;
    }
    sums
}

/// Where most of the queries that timed out were seen last.
pub(crate) fn lost_after(server: &DnsServer) -> Option<Stage> {
    most(server.timeouts.iter().map(|it| (it.query, it.queries)))
}

/// Where most of their answers were seen last.
pub(super) fn answer_last(server: &DnsServer) -> Option<Stage> {
    most(server.timeouts.iter().filter_map(|it| Some((it.answer?, it.queries))))
}

fn most(stages: impl Iterator<Item = (Stage, u64)>) -> Option<Stage> {
    let mut sums: BTreeMap<Stage, u64> = BTreeMap::new();
    for (stage, queries) in stages {
        *sums.entry(stage).or_default() += queries;
    }
    sums.into_iter().max_by_key(|(_, queries)| *queries).map(|(stage, _)| stage)
}

/// The latency, in seconds, that a share of the answers did not exceed: between the bounds of its
/// bucket as if these were spread evenly. `None` without answers, the last bound beyond it.
pub(super) fn quantile(server: &DnsServer, share: f64) -> Option<f64> {
    let rank = share * server.answered() as f64;
    let mut before = 0.0;
    let mut lower = 0.0;
    for (index, bound) in LATENCY_BOUNDS.into_iter().enumerate() {
        let of_bucket = server.answers.iter().filter(|it| it.bucket == index);
        let number = of_bucket.map(|it| it.answers).sum::<u64>() as f64;
        let upper = bound as f64 / 1e9;
        if number > 0.0 && before + number >= rank {
            return Some(lower + (upper - lower) * ((rank - before) / number).clamp(0.0, 1.0));
        }
        before += number;
        lower = upper;
    }
    (server.answered() > 0).then_some(lower)
}

/// The servers in a line of text; `None` where nobody asked anything.
pub(super) fn in_words(dns: &Dns) -> Option<String> {
    let mut told: Vec<String> = dns.servers.iter().take(MOST_SERVERS).map(server).collect();
    let more = dns.servers.len().saturating_sub(MOST_SERVERS);
    if more > 0 {
        told.push(format!("{more} more"));
    }
    (!told.is_empty()).then(|| told.join(" · "))
}

fn server(server: &DnsServer) -> String {
    let who = server.server.map_or_else(|| "others".to_owned(), |address| address.to_string());
    let mut parts = Vec::new();
    if server.queries > 0 || server.answered() > 0 {
        parts.push(format!("{} of {} answered", server.answered(), server.queries));
    }
    let errors = rcodes(server).into_iter().filter(|(name, _)| *name != rcode(0));
    parts.extend(errors.map(|(name, answers)| format!("{answers} {name}")));
    if let Some(stage) = lost_after(server) {
        parts.push(format!("{} timed out after {}", server.timed_out(), stage.name()));
    }
    let counts = [
        (server.answered_late(), "too late"),
        (server.pending, "pending"),
        (server.lost_sight, "lost sight of"),
        (server.retries, "sent again"),
    ];
    parts.extend(counts.into_iter().filter(|it| it.0 > 0).map(|(n, word)| format!("{n} {word}")));
    if server.tcp.connections > 0 {
        parts.push(format!("TCP {} of {} answered", server.tcp.answered, server.tcp.connections));
    }
    if parts.is_empty() {
        parts.push(format!("{} answers to no query", server.unmatched));
    }
    format!("{who}: {}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{DnsAnswers, DnsTcp, DnsTimeouts};

    fn answers(rcode: u8, bucket: usize, answers: u64) -> DnsAnswers {
        DnsAnswers { endpoint: None, rcode, truncated: false, bucket, answers, seconds: 0.1 }
    }

    fn timeouts(query: Stage, queries: u64) -> DnsTimeouts {
        DnsTimeouts { endpoint: None, query, answer: None, queries }
    }

    fn asked() -> DnsServer {
        DnsServer {
            server: Some("10.96.0.10".parse().unwrap()),
            queries: 14,
            pending: 1,
            retries: 2,
            answers: vec![answers(0, 3, 6), answers(3, 4, 2)],
            timeouts: vec![timeouts(Stage::WireOut, 4), timeouts(Stage::PodOut, 1)],
            tcp: DnsTcp { connections: 5, answered: 5 },
            ..DnsServer::default()
        }
    }

    #[test]
    fn a_line_says_what_became_of_all_queries() {
        let dns = Dns { timeout_seconds: 2.0, servers: vec![asked()] };
        assert_eq!(
            in_words(&dns).as_deref(),
            Some(
                "10.96.0.10: 8 of 14 answered, 2 NXDOMAIN, 5 timed out after wire_out, 1 pending, \
                 2 sent again, TCP 5 of 5 answered"
            )
        );
        assert_eq!(in_words(&Dns::default()), None);
    }

    #[test]
    fn a_quantile_lies_in_its_bucket() {
        let server = asked();
        let median = quantile(&server, 0.5).unwrap();
        assert!((0.0025..0.005).contains(&median), "{median}");
        let last = quantile(&server, 0.99).unwrap();
        assert!((0.005..=0.01).contains(&last), "{last}");
        assert_eq!(quantile(&DnsServer::default(), 0.5), None);
        let slow = DnsServer { answers: vec![answers(0, 13, 1)], ..DnsServer::default() };
        assert_eq!(quantile(&slow, 0.5), Some(5.0));
    }
}
