//! The `dns` of the JSON of `check`: a row for each server and transport.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Serialize;

use super::super::{dns, words::MOST_ENTRIES};
use crate::evidence::{DnsServer, Evidence, Stage};

/// A server over one transport.
#[derive(Debug, Serialize)]
pub(super) struct DnsJson {
    /// Null for all servers for which there was no room.
    server: Option<IpAddr>,
    /// Where its queries go; null where that is not known, or not one place.
    endpoint: Option<IpAddr>,
    endpoints: Vec<IpAddr>,
    transport: &'static str,
    queries: u64,
    answers: u64,
    pending: u64,
    timeouts: u64,
    /// Queries of which the tracer has lost sight.
    lost_sight: u64,
    /// Answers after the timeout, which are among the timeouts.
    late: u64,
    /// Answers to no open query.
    unmatched: u64,
    retries: u64,
    tcp_fallbacks: u64,
    /// Where most of the queries that timed out were seen last.
    lost_after_stage: Option<Stage>,
    /// Where most of their answers were seen last.
    answer_last_stage: Option<Stage>,
    rcodes: BTreeMap<&'static str, u64>,
    truncated: u64,
    latency_ms: LatencyJson,
}

#[derive(Debug, Serialize)]
struct LatencyJson {
    p50: Option<f64>,
    p99: Option<f64>,
}

/// The rows, most queries first; and how many more there are.
pub(super) fn rows(evidence: &Evidence) -> (Vec<DnsJson>, u64) {
    let servers = evidence.dns.iter().flat_map(|dns| &dns.servers);
    let mut rows: Vec<DnsJson> =
        servers.flat_map(|it| [over_udp(it), over_tcp(it)]).flatten().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.queries));
    let left_out = rows.len().saturating_sub(MOST_ENTRIES);
    rows.truncate(MOST_ENTRIES);
    (rows, left_out as u64)
}

fn over_udp(server: &DnsServer) -> Option<DnsJson> {
    let asked_over_tcp_only =
        DnsServer { server: server.server, tcp: server.tcp, ..DnsServer::default() };
    if *server == asked_over_tcp_only {
        return None;
    }
    let endpoints = server.endpoints();
    Some(DnsJson {
        server: server.server,
        endpoint: if let [one] = endpoints[..] { Some(one) } else { None },
        endpoints,
        transport: "udp",
        queries: server.queries,
        answers: server.answered(),
        pending: server.pending,
        timeouts: server.timed_out(),
        lost_sight: server.lost_sight,
        late: server.answered_late(),
        unmatched: server.unmatched,
        retries: server.retries,
        tcp_fallbacks: server.tcp.connections,
        lost_after_stage: dns::lost_after(server),
        answer_last_stage: dns::answer_last(server),
        rcodes: dns::rcodes(server),
        truncated: server.answers.iter().filter(|it| it.truncated).map(|it| it.answers).sum(),
        latency_ms: LatencyJson { p50: milliseconds(server, 0.5), p99: milliseconds(server, 0.99) },
    })
}

fn milliseconds(server: &DnsServer, share: f64) -> Option<f64> {
    // No finer than a microsecond.
    dns::quantile(server, share).map(|seconds| (seconds * 1e6).round() / 1e3)
}

fn over_tcp(server: &DnsServer) -> Option<DnsJson> {
    let tcp = server.tcp;
    (tcp.connections > 0).then(|| DnsJson {
        server: server.server,
        endpoint: None,
        endpoints: Vec::new(),
        transport: "tcp",
        queries: tcp.connections,
        answers: tcp.answered,
        pending: tcp.connections - tcp.answered.min(tcp.connections),
        timeouts: 0,
        lost_sight: 0,
        late: 0,
        unmatched: 0,
        retries: 0,
        tcp_fallbacks: 0,
        lost_after_stage: None,
        answer_last_stage: None,
        rcodes: BTreeMap::new(),
        truncated: 0,
        latency_ms: LatencyJson { p50: None, p99: None },
    })
}
