//! Drops by cause, and the flows that they hit.

use super::{Family, Sample, Value, counter};
use crate::{
    daemon::drops::{DropTotals, DroppedFlow},
    export::words,
};

pub(super) fn families(drops: &DropTotals) -> [Family; 3] {
    let by_place = drops.by_place().map(|(place, packets)| Sample {
        labels: vec![
            ("cause", place.cause.to_owned()),
            ("reason", place.reason.clone()),
            ("interface", place.interface.clone()),
        ],
        value: Value::Count(packets),
    });
    let flows = drops.flows();
    let series = flows.series().map(|(flow, packets)| of_flow(Some(flow), packets));
    let other = of_flow(None, flows.other());
    [
        counter(
            "drops",
            "Packets (segments) that the kernel dropped, by what explains it.",
            by_place.collect(),
        ),
        counter(
            "flow_drops",
            "The same packets by flow, for few flows that keep their series; all others are other.",
            series.chain([other]).collect(),
        ),
        counter(
            "drop_flow_evictions",
            "Dropped flows that newer ones pushed out of the table; their packets are counted.",
            vec![Sample { labels: vec![], value: Value::Count(drops.flow_evictions()) }],
        ),
    ]
}

/// Which pods these are is known when the API is asked.
fn of_flow(flow: Option<&DroppedFlow>, packets: u64) -> Sample {
    let other = || "other".to_owned();
    let word = |word: &dyn Fn(&DroppedFlow) -> String| flow.map_or_else(other, word);
    Sample {
        labels: vec![
            ("source", word(&|it| it.source.to_string())),
            ("destination", word(&|it| it.destination.to_string())),
            ("protocol", word(&|it| words::protocol(it.protocol))),
            ("destination_port", word(&|it| it.destination_port.to_string())),
            ("cause", word(&|it| it.cause.to_owned())),
            ("source_pod", String::new()),
            ("destination_pod", String::new()),
        ],
        value: Value::Count(packets),
    }
}
