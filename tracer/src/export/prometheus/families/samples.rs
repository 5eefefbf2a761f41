//! What was sampled.

use tracer_common::stage::LEAK;

use super::{Family, count, counter};
use crate::{daemon::totals::Sums, evidence::Stage, kernel::SampleReading};

/// By stage, and leaks; zeros where no samples are taken.
pub(super) fn families(sums: &Sums) -> [Family; 2] {
    let by_stage = |value: fn(&SampleReading) -> u64| {
        let stages = Stage::ALL.iter().enumerate().map(|(index, stage)| (stage.name(), index));
        let stages = stages.chain([("leak", LEAK)]);
        let samples = stages.map(|(name, index)| {
            count(vec![("stage", name)], sums.samples.get(index).map_or(0, value))
        });
        samples.collect()
    };
    [
        counter(
            "samples",
            "Packets of a stage whose turn it was to be sampled, lost ones among them.",
            by_stage(|it| it.taken),
        ),
        counter(
            "anomaly_samples",
            "Rare or malformed packets that were sampled as the first of theirs, lost ones among them.",
            by_stage(|it| it.anomalies),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use crate::{
        export::prometheus::{Exposition, families::tests::snapshot, render},
        kernel::SampleReading,
    };

    #[test]
    fn samples_are_told_by_stage_and_lost_ones_as_events() {
        let mut sampled = snapshot();
        let of = |taken, anomalies, lost| SampleReading { taken, anomalies, lost };
        sampled.sums.samples = vec![SampleReading::default(); 7];
        (sampled.sums.samples[2], sampled.sums.samples[6]) = (of(100, 4, 30), of(5, 0, 1));
        let text = render(&sampled, Exposition::Text).unwrap();
        let has = |line: &str| text.lines().any(|it| it == format!("flannel_tracer_{line}"));
        assert!(has(r#"samples_total{stage="wire_out"} 100"#), "{text}");
        assert!(
            has(r#"samples_total{stage="leak"} 5"#) && has(r#"samples_total{stage="pod_in"} 0"#)
        );
        assert!(has(r#"anomaly_samples_total{stage="wire_out"} 4"#));
        assert!(has(r#"events_lost_total{source="samples"} 31"#));
        let off = render(&snapshot(), Exposition::Text).unwrap();
        assert!(off.contains(r#"samples_total{stage="wire_out"} 0"#));
    }
}
