//! The text of a scrape, read strictly.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};

/// What every name begins with.
const PREFIX: &str = "flannel_tracer_";

/// One scrape: samples by name and labels as they are written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    samples: BTreeMap<String, f64>,
    counters: BTreeSet<String>,
}

impl Metrics {
    /// Reads Prometheus' text form.
    ///
    /// # Errors
    /// When a sample has no family before it, comes twice or has no number.
    pub fn parse(text: &str) -> Result<Self> {
        let mut metrics = Self::default();
        let mut families = BTreeMap::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').with_context(|| line.to_owned())?;
                let twice = families.insert(name.to_owned(), kind.to_owned());
                ensure!(twice.is_none(), "twice: {line}");
            } else if !line.starts_with('#') {
                metrics.take(line, &families).with_context(|| line.to_owned())?;
            }
        }
        Ok(metrics)
    }

    /// The value of a sample, named without prefix: `stage_packets_total{stage="pod_out"}`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        self.samples.get(name).copied()
    }

    /// As [`Metrics::get`].
    ///
    /// # Errors
    /// When there is no such sample.
    pub fn value(&self, name: &str) -> Result<f64> {
        self.get(name).with_context(|| format!("no {name} in {:#?}", self.samples))
    }

    /// Samples whose name begins so.
    pub fn beginning(&self, prefix: &str) -> impl Iterator<Item = (&str, f64)> {
        self.samples
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.as_str(), *value))
    }

    /// Counters that are lower here than they were `before`, or gone.
    #[must_use]
    pub fn fallen_since(&self, before: &Self) -> Vec<String> {
        let was = before
            .samples
            .iter()
            .filter(|(name, _)| before.counters.contains(name.split('{').next().unwrap_or(name)));
        was.filter(|(name, value)| self.get(name).is_none_or(|now| now < **value))
            .map(|(name, value)| format!("{name}: {value} before, now {:?}", self.get(name)))
            .collect()
    }

    fn take(&mut self, line: &str, families: &BTreeMap<String, String>) -> Result<()> {
        let (name, value) = line.rsplit_once(' ').context("no value")?;
        let family = name.split('{').next().unwrap_or(name);
        let kind = families.get(family).or_else(|| of_histogram(family, families));
        let kind = kind.context("no family")?;
        let name = name.strip_prefix(PREFIX).context("another prefix")?.to_owned();
        if kind == "counter" || kind == "histogram" {
            self.counters.insert(family.strip_prefix(PREFIX).unwrap_or(family).to_owned());
        }
        let twice = self.samples.insert(name, value.parse().context("no number")?);
        ensure!(twice.is_none(), "the sample comes twice");
        Ok(())
    }
}

/// The kind of the histogram of which this is a part.
fn of_histogram<'a>(part: &str, families: &'a BTreeMap<String, String>) -> Option<&'a String> {
    let parts = ["_bucket", "_count", "_sum"].into_iter();
    let family = parts.filter_map(|suffix| part.strip_suffix(suffix)).next()?;
    families.get(family).filter(|kind| *kind == "histogram")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP flannel_tracer_a_total A.\n# TYPE flannel_tracer_a_total counter\n\
                        flannel_tracer_a_total{x=\"1\"} 7\n# TYPE flannel_tracer_b gauge\n\
                        flannel_tracer_b 2.5\n";

    #[test]
    fn samples_are_read_by_name_and_labels() {
        let metrics = Metrics::parse(TEXT).unwrap();
        assert_eq!(metrics.get("a_total{x=\"1\"}"), Some(7.0));
        assert_eq!(metrics.value("b").unwrap(), 2.5);
        assert!(metrics.value("c").is_err());
    }

    #[test]
    fn the_parts_of_a_histogram_are_samples_that_may_not_fall() {
        let text = "# TYPE flannel_tracer_h histogram\nflannel_tracer_h_bucket{le=\"1\"} 2\n\
                    flannel_tracer_h_sum 0.5\nflannel_tracer_h_count 2\n";
        let before = Metrics::parse(text).unwrap();
        assert_eq!(before.get("h_bucket{le=\"1\"}"), Some(2.0));
        let now = Metrics::parse(&text.replace("_count 2", "_count 1")).unwrap();
        assert_eq!(now.fallen_since(&before).len(), 1);
        assert!(Metrics::parse(&text.replace("histogram", "counter")).is_err());
    }

    #[test]
    fn what_is_not_in_form_is_refused() {
        for text in ["flannel_tracer_b 1\n", "# TYPE b gauge\nb 1\n"] {
            assert!(Metrics::parse(text).is_err(), "{text}");
        }
        assert!(Metrics::parse(&TEXT.repeat(2)).is_err());
    }

    #[test]
    fn only_counters_may_not_fall() {
        let before = Metrics::parse(TEXT).unwrap();
        let now = Metrics::parse(&TEXT.replace(" 7", " 6").replace("2.5", "1")).unwrap();
        assert_eq!(now.fallen_since(&before).len(), 1);
        assert!(before.fallen_since(&before).is_empty());
    }
}
