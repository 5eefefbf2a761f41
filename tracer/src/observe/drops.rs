//! From readings of the drop program's maps to [`Drops`]: pure.

use std::{cmp::Reverse, collections::HashMap};

use tracer_common::drop::DropKey;

use super::noise::is_noise;
use crate::{
    evidence::{Drop, DropFlow, DropOuter, DropPlace, Drops},
    kernel::{DropFlowReading, DropReading, PlaceReading},
};

/// Entries that evidence holds.
const LISTED: usize = 1000;

/// All readings of one window, of one session.
#[derive(Debug, Clone, Copy)]
pub struct DropObservation<'a> {
    /// At the window's start.
    pub start: &'a DropReading,
    /// In its middle.
    pub middle: &'a DropReading,
    /// At its end.
    pub end: &'a DropReading,
    /// Whether the packets' own headers were read.
    pub headers_read: bool,
    /// Whether this kernel gives reasons.
    pub has_reasons: bool,
    /// Names of flannel's devices.
    pub overlays: &'a [String],
}

/// A place, and packets of one EtherType.
type At = (DropKey, u16);
/// A flow at a place.
type FlowAt = (DropKey, DropFlow, Option<DropOuter>);
/// Packets in the window, and until the read in its middle.
type Rise = (u64, u64);

/// What was dropped in the window.
///
/// Places are exact. A flow cannot have more than its place: the flows are read a moment before
/// the places, so that a packet between the two reads of the start is in the flow's difference
/// and not in the place's.
#[must_use]
pub fn drops(observation: DropObservation<'_>) -> Drops {
    let DropObservation { start, middle, end, overlays, .. } = observation;
    let rise = |of: fn(&DropReading) -> u64| of(end).saturating_sub(of(start));
    let mut all = entries(start, middle, end);
    let before: u64 = sum(&all);
    all.retain(|drop| !is_noise(drop, overlays));
    let packets = sum(&all);
    let nowhere = rise(|reading| reading.other);
    let unnamed: u64 = all.iter().filter(|it| it.flow.is_none()).map(|it| it.packets).sum();
    // Stable: the same order among equals every time.
    all.sort_by_key(|drop| Reverse(drop.packets));
    let left_out = all.len().saturating_sub(LISTED);
    all.truncate(LISTED);
    Drops {
        entries: all,
        left_out: left_out as u64,
        packets: packets + nowhere,
        other: unnamed + nowhere,
        noise: before - packets,
        elsewhere: rise(|reading| reading.elsewhere),
        unplaced: rise(|reading| reading.unplaced),
        missed: rise(|reading| reading.missed),
        flow_evictions: rise(evictions),
        headers_read: observation.headers_read,
        has_reasons: observation.has_reasons,
    }
}

fn sum(drops: &[Drop]) -> u64 {
    drops.iter().map(|drop| drop.packets).sum()
}

/// Entries that are no longer in the tables, though they were made.
fn evictions(reading: &DropReading) -> u64 {
    reading.flow_inserts.saturating_sub(reading.flows.len() as u64)
}

/// Every place with a packet in the window, cut into its flows and what is of none.
fn entries(start: &DropReading, middle: &DropReading, end: &DropReading) -> Vec<Drop> {
    let [at_start, in_middle] = [start, middle].map(by_place);
    let mut flows = flows_by_place(start, middle, end);
    let mut drops = Vec::new();
    for place in &end.places {
        let at = (place.at, place.ethertype);
        let before = at_start.get(&at).copied().unwrap_or_default();
        let half = in_middle.get(&at).copied().unwrap_or_default();
        let total = (place.packets.saturating_sub(before), half.saturating_sub(before));
        let flows = flows.remove(&at).unwrap_or_default();
        drops.extend(entries_at(place, total, flows));
    }
    drops
}

fn entries_at(place: &PlaceReading, total: Rise, mut flows: Vec<(FlowAt, Rise)>) -> Vec<Drop> {
    let (mut packets, mut early) = total;
    flows.sort_by_key(|((_, flow, outer), (packets, _))| (Reverse(*packets), *flow, *outer));
    let mut drops = Vec::new();
    for ((_, flow, outer), rise) in flows {
        let of_flow = (rise.0.min(packets), rise.1.min(early).min(rise.0.min(packets)));
        if of_flow.0 > 0 {
            packets -= of_flow.0;
            early -= of_flow.1;
            drops.push(entry(place, of_flow, Some(flow), outer));
        }
    }
    if packets > 0 {
        drops.push(entry(place, (packets, early.min(packets)), None, None));
    }
    drops
}

fn entry(
    place: &PlaceReading,
    (packets, early): Rise,
    flow: Option<DropFlow>,
    outer: Option<DropOuter>,
) -> Drop {
    Drop {
        reason: place.reason.clone(),
        symbol: place.symbol.clone(),
        interface: place.device.clone(),
        place: if place.at.is_in_pod() { DropPlace::Pod } else { DropPlace::Node },
        ethertype: place.ethertype,
        packets,
        early,
        flow,
        outer,
    }
}

fn by_place(reading: &DropReading) -> HashMap<At, u64> {
    reading.places.iter().map(|it| ((it.at, it.ethertype), it.packets)).collect()
}

fn by_flow(reading: &DropReading) -> HashMap<FlowAt, &DropFlowReading> {
    reading.flows.iter().map(|flow| (key(flow), flow)).collect()
}

const fn key(flow: &DropFlowReading) -> FlowAt {
    (flow.at, flow.flow, flow.outer)
}

/// What each flow rose by. An entry that was not there before, or in another life, has counted
/// everything since its birth, which was in the window.
fn flows_by_place(
    start: &DropReading,
    middle: &DropReading,
    end: &DropReading,
) -> HashMap<At, Vec<(FlowAt, Rise)>> {
    let [at_start, in_middle] = [start, middle].map(by_flow);
    let mut flows: HashMap<At, Vec<(FlowAt, Rise)>> = HashMap::new();
    for flow in &end.flows {
        let earlier = |readings: &HashMap<FlowAt, &DropFlowReading>| {
            let same = readings.get(&key(flow)).filter(|it| it.birth == flow.birth);
            same.map_or(0, |it| it.packets)
        };
        let (before, half) = (earlier(&at_start), earlier(&in_middle));
        // Modulo 2^32, as the counters are. Without a life at the half there was none at the start.
        let since = |packets: u32| u64::from(packets.wrapping_sub(before));
        let early = if in_middle.contains_key(&key(flow)) { since(half) } else { 0 };
        let rise = (since(flow.packets), early);
        flows.entry((flow.at, flow.ethertype)).or_default().push((key(flow), rise));
    }
    flows
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: DropKey = DropKey::new(0xff, 2, 3);

    fn place(packets: u64) -> PlaceReading {
        PlaceReading {
            at: HERE,
            ethertype: 0x0800,
            reason: Some("NETFILTER_DROP".to_owned()),
            symbol: Some("nft_do_chain".to_owned()),
            device: Some("cni0".to_owned()),
            packets,
        }
    }

    fn flow(last: u8, packets: u32, birth: u32) -> DropFlowReading {
        let flow = DropFlow {
            source: [10, 244, 1, last].into(),
            destination: [10, 244, 2, 3].into(),
            protocol: 17,
            source_port: 1,
            destination_port: 2,
        };
        DropFlowReading { at: HERE, ethertype: 0x0800, flow, outer: None, packets, birth }
    }

    fn reading(packets: u64, flows: &[DropFlowReading]) -> DropReading {
        DropReading {
            places: vec![place(packets)],
            flows: flows.to_vec(),
            ..DropReading::default()
        }
    }

    fn judged(start: &DropReading, middle: &DropReading, end: &DropReading) -> Drops {
        let (headers_read, has_reasons) = (true, true);
        drops(DropObservation { start, middle, end, headers_read, has_reasons, overlays: &[] })
    }

    /// Packets and early ones of each entry.
    fn counts(drops: &Drops) -> Vec<(Option<u8>, u64, u64)> {
        let last = |flow: DropFlow| match flow.source {
            std::net::IpAddr::V4(address) => address.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        };
        drops.entries.iter().map(|it| (it.flow.map(last), it.packets, it.early)).collect()
    }

    #[test]
    fn flows_and_the_rest_are_what_the_place_rose_by() {
        let start = reading(100, &[flow(1, 50, 7)]);
        let middle = reading(110, &[flow(1, 54, 7)]);
        let end = reading(140, &[flow(1, 60, 7), flow(2, 20, 8)]);
        let drops = judged(&start, &middle, &end);
        assert_eq!(counts(&drops), [(Some(2), 20, 0), (Some(1), 10, 4), (None, 10, 6)]);
        assert_eq!((drops.packets, drops.other, drops.noise), (40, 10, 0));
    }

    #[test]
    fn a_reborn_entry_has_counted_since_its_birth() {
        let start = reading(100, &[flow(1, 50, 7)]);
        let middle = reading(104, &[flow(1, 2, 9)]);
        let drops = judged(&start, &middle, &reading(110, &[flow(1, 6, 9)]));
        assert_eq!(counts(&drops), [(Some(1), 6, 2), (None, 4, 2)]);
        // Twice reborn: what the second life counted is of no flow any more.
        let drops = judged(&start, &middle, &reading(110, &[flow(1, 1, 11)]));
        assert_eq!(counts(&drops), [(None, 9, 4), (Some(1), 1, 0)]);
    }

    #[test]
    fn a_counter_that_wraps_goes_on_rising() {
        let start = reading(100, &[flow(1, u32::MAX - 1, 7)]);
        let middle = reading(102, &[flow(1, 0, 7)]);
        let drops = judged(&start, &middle, &reading(110, &[flow(1, 8, 7)]));
        assert_eq!(counts(&drops), [(Some(1), 10, 2)]);
    }

    #[test]
    fn a_flow_has_no_more_than_its_place() {
        let start = reading(100, &[flow(1, 50, 7)]);
        let end = reading(110, &[flow(1, 61, 7), flow(2, 3, 8)]);
        let drops = judged(&start, &start, &end);
        assert_eq!(counts(&drops), [(Some(1), 10, 0)]);
        assert_eq!((drops.packets, drops.other), (10, 0));
    }

    #[test]
    fn nothing_dropped_is_no_entry() {
        let same = reading(100, &[flow(1, 50, 7)]);
        assert_eq!(judged(&same, &same, &same).entries, []);
    }

    #[test]
    fn what_found_no_place_is_counted_and_noise_is_apart() {
        let start = DropReading::default();
        let mut end = reading(5, &[flow(1, 5, 7)]);
        end.places[0].reason = Some("QUEUE_PURGE".to_owned());
        (end.other, end.elsewhere, end.unplaced, end.missed) = (11, 12, 13, 14);
        end.flow_inserts = 4;
        let drops = judged(&start, &start, &end);
        assert_eq!((drops.packets, drops.other, drops.noise), (11, 11, 5));
        assert_eq!((drops.elsewhere, drops.unplaced, drops.missed), (12, 13, 14));
        assert_eq!((drops.flow_evictions, drops.entries.len()), (3, 0));
    }

    #[test]
    fn the_list_is_cut_and_the_total_is_not() {
        let flows: Vec<_> = (0..1500)
            .map(|n| {
                let mut flow = flow(1, 1 + n, 7);
                flow.flow.source_port = n as u16;
                flow
            })
            .collect();
        let total: u64 = (1..=1500).sum();
        let start = DropReading::default();
        let drops = judged(&start, &start, &reading(total, &flows));
        assert_eq!((drops.entries.len(), drops.left_out, drops.packets), (1000, 500, total));
        assert_eq!(drops.entries[0].packets, 1500);
    }
}
