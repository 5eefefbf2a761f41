//! From readings of the maps to [`Traffic`]: pure.
//!
//! Hooks are read one after the other while packets pass, so the difference of two counters may
//! hold packets that are merely between them. Therefore every moment is read twice, a little apart
//! ([`Moment`]): a loss counts the upstream stage from late at the start to early at the end, and
//! the downstream stage from early at the start to late at the end. What remains died.

mod dns;
mod dropped_queries;
mod drops;
mod flows;
mod learned_vips;
mod losses;
mod noise;
mod services;
mod sightings;
mod unanswered;
mod vips;

use ipnet::IpNet;
use tracer_common::{
    counter::{PARSE_ERRORS, ParseError},
    peer::{FIRST_PEER, FRAGMENTS},
    stage::{FLOW_COUNTS, HOST, LARGE_IN, LARGE_OUT, LEAK, STAGES},
};

use crate::{
    evidence::{
        Count, LargePackets, Losses, MacAddress, ParseErrors, PeerTraffic, SelfCounters, Stage,
        StageCounts, StageTotals, Traffic,
    },
    kernel::{FlowReading, Reading, SlotReading},
};

pub use self::{
    dns::{dns, server_of, so_far},
    dropped_queries::dropped_servers,
    drops::{DropObservation, drops},
    learned_vips::LearnedVips,
    services::{Asked, Questions, questions},
    vips::{VipObservation, vips},
};
use self::{
    flows::{Flows, summarise},
    services::{Sent, Services},
};

/// Two readings of one moment, a little apart.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    /// The first.
    pub early: Reading,
    /// The second.
    pub late: Reading,
}

/// All readings of one window.
#[derive(Debug, Clone, Default)]
pub struct Observation {
    /// Pod CIDRs of the peers in the order of their slots.
    pub peers: Vec<IpNet>,
    /// Pod CIDRs of this node.
    pub own: Vec<IpNet>,
    /// When the window began, after the last hook was attached.
    pub start: Moment,
    /// In its middle.
    pub middle: Moment,
    /// At its end.
    pub end: Moment,
    /// The flow table at the start.
    pub flows_start: Vec<FlowReading>,
    /// The flow table in the middle, read before the counters of that moment.
    pub flows_middle: Vec<FlowReading>,
    /// The flow table at the end.
    pub flows_end: Vec<FlowReading>,
    /// Those of the flows that were asked for in the middle, read before the counters of the end.
    pub flows_followed: Vec<FlowReading>,
    /// What the table of connections said in the middle.
    pub asked_middle: Asked,
    /// What it said at the end.
    pub asked_end: Asked,
}

/// What was seen in the window.
#[must_use]
pub fn traffic(observation: &Observation) -> Traffic {
    let services = Services::of(observation);
    let to_services = services.sent_by_peer(observation);
    let Flows { mut listed, left_out, strangers, by_peer } = summarise(observation, &services);
    let whole = slots_between(&observation.start.early, &observation.end.late);
    let stages = totals(&whole);
    let other = other(observation);
    let unanswered = unanswered::by_peer(observation);
    let peers = observation.peers.iter().enumerate().zip(by_peer);
    let peers = peers.zip(unanswered).zip(to_services);
    let peers = peers
        .map(|((((index, cidr), seen), unanswered), to_services)| {
            let exact = peer(observation, FIRST_PEER as usize + index, to_services);
            PeerTraffic {
                cidr: *cidr,
                asking_out: seen.asking_out,
                answered: Some(unanswered.answered),
                addresses_silent: unanswered.addresses.len() as u64,
                addresses_asked: seen.addresses_asked.len() as u64,
                undelivered: seen.undelivered(),
                outer_source: seen.outer_source,
                lost: Losses { wire_to_peer: unanswered.packets, ..exact.lost },
                lost_early: Losses { wire_to_peer: unanswered.early, ..exact.lost_early },
                ..exact
            }
        })
        .collect();
    listed.truncate(flows::LISTED);
    let Observation { start, middle, end, .. } = observation;
    let (sightings, sightings_left_out) =
        sightings::sightings(&start.early, &middle.late, &end.late);
    Traffic {
        stages,
        peers,
        strangers,
        flows: listed,
        flows_left_out: left_out,
        other,
        sightings,
        sightings_left_out,
        untranslated: services.untranslated(&observation.flows_start, &observation.flows_end),
        parse_errors: parse_errors(observation),
        own: own(observation),
    }
}

/// Exact total minus the sum of all flows, both since the programs were loaded: the start of the
/// window cannot be read in one instant, the birth of the maps is one.
fn other(observation: &Observation) -> StageCounts {
    let mut other = StageCounts::default();
    for (index, stage) in Stage::ALL.into_iter().enumerate() {
        let total: u64 = observation.end.late.slots.iter().map(|slot| slot.packets[index]).sum();
        let in_flows: u64 = observation.flows_end.iter().map(|flow| flow.packets[index]).sum();
        *other.at_mut(stage) = total.saturating_sub(in_flows);
    }
    other
}

/// Everything exact of one peer, and what pods sent it under services' addresses; what only flows
/// tell is filled in by the caller.
fn peer(observation: &Observation, slot: usize, to_services: Sent) -> PeerTraffic {
    let at = |reading: &Reading| reading.slots.get(slot).copied().unwrap_or_default();
    let Observation { start, middle, end, .. } = observation;
    let whole = between(&at(&start.early), &at(&end.late));
    let half = between(&at(&start.early), &at(&middle.late));
    let with_services =
        |counts: StageCounts, packets| StageCounts { pod_out: counts.pod_out + packets, ..counts };
    PeerTraffic {
        cidr: IpNet::default(),
        packets: with_services(stage_counts(&whole), to_services.total),
        early: with_services(stage_counts(&half), to_services.early),
        large: Some(LargePackets {
            wire_out: whole.packets[LARGE_OUT],
            wire_out_early: half.packets[LARGE_OUT],
            wire_in: whole.packets[LARGE_IN],
        }),
        leaked: whole.packets[LEAK],
        leaked_early: half.packets[LEAK],
        lost: losses::lost(start, end, slot, to_services.total),
        lost_early: losses::lost(start, middle, slot, to_services.early),
        asking_out: 0,
        answered: None,
        addresses_silent: 0,
        addresses_asked: 0,
        undelivered: Vec::new(),
        outer_source: None,
        inner_source_mac: at(&end.late).vtep_mac.map(MacAddress),
        outer_source_mac: at(&end.late).outer_mac.map(MacAddress),
    }
}

fn slots_between(start: &Reading, end: &Reading) -> Vec<SlotReading> {
    start.slots.iter().zip(&end.slots).map(|(start, end)| between(start, end)).collect()
}

fn between(start: &SlotReading, end: &SlotReading) -> SlotReading {
    let mut difference = *end;
    for (count, before) in difference.packets.iter_mut().zip(start.packets) {
        *count = count.saturating_sub(before);
    }
    for (count, before) in difference.bytes.iter_mut().zip(start.bytes) {
        *count = count.saturating_sub(before);
    }
    difference
}

fn stage_counts(slot: &SlotReading) -> StageCounts {
    let mut counts = StageCounts::default();
    for (index, stage) in Stage::ALL.into_iter().enumerate() {
        *counts.at_mut(stage) = slot.packets[index];
    }
    counts
}

fn totals(slots: &[SlotReading]) -> StageTotals {
    let total = |index: usize| Count {
        packets: slots.iter().map(|slot| slot.packets[index]).sum(),
        bytes: slots.iter().map(|slot| slot.bytes[index]).sum(),
    };
    let fragments = slots.get(FRAGMENTS as usize).copied().unwrap_or_default();
    StageTotals {
        pod_out: total(0),
        overlay_out: total(1),
        wire_out: total(2),
        wire_in: total(3),
        overlay_in: total(4),
        pod_in: total(5),
        leak: total(LEAK),
        host: total(HOST),
        fragments: Count {
            packets: fragments.packets[..STAGES].iter().sum(),
            bytes: fragments.bytes[..STAGES].iter().sum(),
        },
    }
}

fn parse_errors(observation: &Observation) -> Vec<ParseErrors> {
    let (start, end) = (&observation.start.early, &observation.end.late);
    let mut errors = Vec::new();
    for (index, stage) in Stage::ALL.into_iter().enumerate() {
        for kind in ParseError::ALL {
            let at = index * PARSE_ERRORS + kind as usize;
            let count = |reading: &Reading| reading.parse_errors.get(at).copied().unwrap_or(0);
            let packets = count(end).saturating_sub(count(start));
            if packets > 0 {
                errors.push(ParseErrors { stage, kind: kind.name().to_owned(), packets });
            }
        }
    }
    errors
}

fn own(observation: &Observation) -> SelfCounters {
    let (start, end) = (&observation.start.early, &observation.end.late);
    SelfCounters {
        parse_errors: parse_errors(observation).iter().map(|error| error.packets).sum(),
        slow_parse: end.slow_parse.saturating_sub(start.slow_parse),
        events_lost: samples_lost(end).saturating_sub(samples_lost(start)),
        flow_evictions: evicted(observation),
        map_insert_failures: refused(end).saturating_sub(refused(start)),
    }
}

/// Samples for which there was no room.
fn samples_lost(reading: &Reading) -> u64 {
    reading.samples.iter().map(|it| it.lost).sum()
}

/// Entries that a map refused, whichever.
const fn refused(reading: &Reading) -> u64 {
    reading.flow_insert_failures + reading.other_sights + reading.other_dns
}

/// Flows that were pushed out of the table since it was loaded, when it and its counter were empty.
/// Nothing is ever deleted, so what was inserted and is not there has been evicted.
fn evicted(observation: &Observation) -> u64 {
    observation.end.late.flow_inserts.saturating_sub(observation.flows_end.len() as u64)
}

/// A flow's own leak counter stands behind its stages.
const _: () = assert!(LEAK == STAGES && FLOW_COUNTS == STAGES + 1);
