//! DNS queries by server.

use std::{collections::BTreeMap, net::IpAddr};

use tracer_common::dns::{BUCKETS, DnsCount, DnsKey, DnsKind};

use super::{Family, Histogram, Kind, Sample, Value, counter};
use crate::{evidence::Stage, export::dns::rcode, observe::server_of};

/// What is not known of servers for which there was no room.
const UNKNOWN: &str = "unknown";

type Sums = BTreeMap<DnsKey, DnsCount>;

pub(super) fn families(sums: &Sums) -> [Family; 8] {
    let simple = |name, help, kind| counter(name, help, by(sums, kind, of_server));
    [
        simple("dns_queries", "DNS queries over UDP, each once.", DnsKind::Query),
        simple("dns_retries", "DNS queries that were sent again.", DnsKind::Retry),
        counter(
            "dns_answers",
            "Answers in time, by code.",
            by(sums, DnsKind::Answer, |key| {
                let mut labels = of_server(key);
                labels.push(("endpoint", word(key.endpoint())));
                let code = if key.has_details() { rcode(key.rcode()) } else { UNKNOWN };
                labels.push(("rcode", code.to_owned()));
                labels
            }),
        ),
        counter(
            "dns_timeouts",
            "Queries without an answer in time, by the last stage that saw them.",
            by(sums, DnsKind::Timeout, |key| {
                let stage = Stage::ALL.get(key.last_stages().0).copied();
                let stage = stage.filter(|_| key.has_details());
                let mut labels = of_server(key);
                labels.push(("lost_after", stage.map_or(UNKNOWN, Stage::name).to_owned()));
                labels
            }),
        ),
        simple("dns_late_answers", "Answers after the timeout.", DnsKind::Late),
        simple("dns_unmatched_answers", "Answers to no open query.", DnsKind::Unmatched),
        simple(
            "dns_lost_sight",
            "Queries whose place another took: what became of them is not known.",
            DnsKind::Overwritten,
        ),
        Family {
            name: "dns_latency_seconds",
            help: "From the query to its answer, late ones among them.",
            kind: Kind::Histogram,
            samples: latencies(sums),
        },
    ]
}

type Labels = Vec<(&'static str, String)>;

fn of_server(key: &DnsKey) -> Labels {
    vec![("server", server(key))]
}

fn server(key: &DnsKey) -> String {
    server_of(key).map_or_else(|| "other".to_owned(), |address| address.to_string())
}

fn word(address: Option<IpAddr>) -> String {
    address.map(|address| address.to_string()).unwrap_or_default()
}

/// The sums of a kind by labels.
fn by(sums: &Sums, kind: DnsKind, labels: impl Fn(&DnsKey) -> Labels) -> Vec<Sample> {
    let mut samples: BTreeMap<Labels, u64> = BTreeMap::new();
    for (key, count) in sums.iter().filter(|(key, _)| key.kind() == Some(kind)) {
        *samples.entry(labels(key)).or_default() += count.times;
    }
    let sample = |(labels, times)| Sample { labels, value: Value::Count(times) };
    samples.into_iter().map(sample).collect()
}

fn latencies(sums: &Sums) -> Vec<Sample> {
    let mut servers: BTreeMap<String, Histogram> = BTreeMap::new();
    for (key, count) in sums {
        // How long those took for which there was no room is not known.
        if !key.has_details() || !matches!(key.kind(), Some(DnsKind::Answer | DnsKind::Late)) {
            continue;
        }
        let histogram = servers.entry(server(key)).or_default();
        histogram.buckets[key.bucket().min(BUCKETS - 1)] += count.times;
        histogram.sum += count.nanoseconds as f64 / 1e9;
    }
    let sample = |(server, histogram)| Sample {
        labels: vec![("server", server)],
        value: Value::Histogram(Box::new(histogram)),
    };
    servers.into_iter().map(sample).collect()
}
