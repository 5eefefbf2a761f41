//! The `drops` of the JSON of `check`, and how far they were seen.

use std::net::IpAddr;

use serde::Serialize;

use super::super::words::{self, MOST_ENTRIES};
use crate::{
    diagnose::Diagnosis,
    evidence::{CapabilityState, Drop, DropFlow, DropOuter, DropPlace, Evidence},
    filter::Chosen,
};

/// Packets that the kernel dropped at one place, of one flow where that is known.
#[derive(Debug, Serialize)]
pub(crate) struct DropJson<'a> {
    cause: &'static str,
    reason: Option<&'a str>,
    symbol: Option<&'a str>,
    interface: Option<&'a str>,
    #[serde(rename = "where")]
    place: DropPlace,
    packets: u64,
    flow: Option<DropFlowJson>,
    outer: Option<DropOuter>,
}

#[derive(Debug, Serialize)]
struct DropFlowJson {
    source: IpAddr,
    destination: IpAddr,
    protocol: String,
    source_port: u16,
    destination_port: u16,
}

/// The drops with most packets, of all or of those that are chosen; and how many more there are.
pub(super) fn drops<'a>(
    diagnosis: &Diagnosis,
    evidence: &'a Evidence,
    chosen: Option<&Chosen<'_>>,
) -> (Vec<DropJson<'a>>, u64) {
    let all = evidence.drops.as_ref().map_or(&[][..], |drops| &drops.entries);
    let causes = diagnosis.drop_causes.iter().copied();
    let is_meant = |drop: &Drop| chosen.is_none_or(|it| it.takes_drop(drop) == Some(true));
    let mut meant = all.iter().zip(causes).filter(|(drop, _)| is_meant(drop));
    let listed = meant.by_ref().take(MOST_ENTRIES).map(|it| DropJson::of(it.0, it.1)).collect();
    (listed, meant.count() as u64)
}

/// Whether drops were seen, and whether with everything that is to be known of them,
/// on all of these nodes.
pub(super) fn coverage<'a>(nodes: impl IntoIterator<Item = &'a Evidence> + Clone) -> &'static str {
    if nodes.clone().into_iter().all(|evidence| evidence.drops.is_none()) {
        return "off";
    }
    if nodes.into_iter().all(sees_all) { "on" } else { "degraded" }
}

fn sees_all(evidence: &Evidence) -> bool {
    let mut lines = evidence
        .capabilities
        .iter()
        .filter(|it| it.feature == "drops" || it.feature == "drop-flows");
    evidence.drops.is_some() && lines.all(|it| it.state == CapabilityState::On)
}

impl<'a> DropJson<'a> {
    /// The object for a drop and the finding that explains it.
    pub(crate) fn of(drop: &'a Drop, cause: &'static str) -> Self {
        Self {
            cause,
            reason: drop.reason.as_deref(),
            symbol: drop.symbol.as_deref(),
            interface: drop.interface.as_deref(),
            place: drop.place,
            packets: drop.packets,
            flow: drop.flow.map(flow),
            outer: drop.outer,
        }
    }
}

fn flow(flow: DropFlow) -> DropFlowJson {
    DropFlowJson {
        source: flow.source,
        destination: flow.destination,
        protocol: words::protocol(flow.protocol),
        source_port: flow.source_port,
        destination_port: flow.destination_port,
    }
}
