//! The metrics of `run`, as OpenMetrics and as Prometheus' older text form.

mod families;

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use tracer_common::dns::{BUCKETS, LATENCY_BOUNDS};

pub use self::families::{Interface, Snapshot, VipMetrics};

/// What every name begins with.
const PREFIX: &str = "flannel_tracer";

/// The two forms of an exposition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text form 0.0.4, which `promtool check metrics` reads.
    Text,
}

/// Samples of one name.
#[derive(Debug)]
struct Family {
    /// Without prefix, and a counter without `_total`.
    name: &'static str,
    help: &'static str,
    kind: Kind,
    samples: Vec<Sample>,
}

/// What the samples of a name are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Debug)]
struct Sample {
    labels: Vec<(&'static str, String)>,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Count(u64),
    /// Seconds since 1970.
    Time(f64),
    /// Boxed, because few values are one.
    Histogram(Box<Histogram>),
}

/// Latencies of DNS.
#[derive(Debug, Default, Clone)]
struct Histogram {
    /// Up to each bound, and one bucket more.
    buckets: [u64; BUCKETS],
    /// In seconds.
    sum: f64,
}

/// All families of one scrape.
#[derive(Debug)]
struct Families(Vec<Family>);

/// The metrics of a moment.
///
/// # Errors
/// Never in practice: writing to a string does not fail.
pub fn render(snapshot: &Snapshot, form: Exposition) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Families(families::families(snapshot))));
    let mut metrics = String::new();
    text::encode(&mut metrics, &registry)?;
    // With thousands of peers the samples are larger than their text, and it may be written twice.
    drop(registry);
    Ok(match form {
        Exposition::OpenMetrics => metrics,
        Exposition::Text => older_text(&metrics),
    })
}

/// The older form names a counter with its `_total` in HELP and TYPE too, and has no end mark.
fn older_text(metrics: &str) -> String {
    let mut text = String::with_capacity(metrics.len() + 1024);
    let mut help = None;
    for line in metrics.lines() {
        if line.starts_with("# HELP ") {
            help = Some(line);
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let total = if kind == "counter" { "_total" } else { "" };
            let words = help.take().and_then(|line| line.splitn(4, ' ').nth(3)).unwrap_or_default();
            text.push_str(&format!("# HELP {name}{total} {words}\n"));
            text.push_str(&format!("# TYPE {name}{total} {kind}\n"));
        } else if line != "# EOF" {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

// === impl Exposition ===

impl Exposition {
    /// The form for an `Accept` header; who does not ask for OpenMetrics gets the older one.
    #[must_use]
    pub fn accepted_by(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    /// The `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

// === impl Families ===

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in &self.0 {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for sample in &family.samples {
                if sample.labels.is_empty() {
                    encode(&mut metric, family, sample)?;
                } else {
                    encode(&mut metric.encode_family(&sample.labels)?, family, sample)?;
                }
            }
        }
        Ok(())
    }
}

fn encode(metric: &mut MetricEncoder<'_>, family: &Family, sample: &Sample) -> fmt::Result {
    match &sample.value {
        Value::Count(count) if family.kind == Kind::Counter => {
            metric.encode_counter::<NoLabelSet, u64, u64>(count, None)
        }
        Value::Count(count) => metric.encode_gauge(count),
        Value::Time(seconds) => metric.encode_gauge(seconds),
        Value::Histogram(it) => {
            let bounds = LATENCY_BOUNDS.map(|bound| bound as f64 / 1e9);
            let bounds = bounds.into_iter().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(it.buckets).collect();
            let count = it.buckets.iter().sum();
            metric.encode_histogram::<NoLabelSet>(it.sum, count, &buckets, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_gets_the_form_that_it_asks_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.4";
        assert_eq!(Exposition::accepted_by(prometheus), Exposition::OpenMetrics);
        for accept in ["", "*/*", "text/plain"] {
            assert_eq!(Exposition::accepted_by(accept), Exposition::Text, "{accept}");
        }
    }

    #[test]
    fn both_forms_carry_the_same_samples_and_name_them_their_way() {
        let snapshot = families::tests::snapshot();
        let newer = render(&snapshot, Exposition::OpenMetrics).unwrap();
        let older = render(&snapshot, Exposition::Text).unwrap();
        let samples = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
        };
        assert_eq!(samples(&newer), samples(&older));
        assert!(samples(&older).len() > 100);
        assert!(newer.ends_with("# EOF\n") && !older.contains("EOF"));
        assert!(newer.contains("# TYPE flannel_tracer_stage_packets counter\n"));
        assert!(older.contains("# TYPE flannel_tracer_stage_packets_total counter\n"));
        assert!(older.contains("# HELP flannel_tracer_stage_packets_total Packets"));
        assert!(older.contains("# TYPE flannel_tracer_node_info gauge\n"));
    }

    #[test]
    fn odd_characters_do_not_break_a_line() {
        let mut snapshot = families::tests::snapshot();
        snapshot.node.name = "a\"b\\c\nd".to_owned();
        let text = render(&snapshot, Exposition::Text).unwrap();
        assert!(text.contains(r#"node="a\"b\\c\nd""#), "{text}");
    }
}
