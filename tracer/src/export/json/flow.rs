//! The `flows` of the JSON of `check`.

use std::{cmp::Reverse, collections::HashSet, net::IpAddr};

use serde::Serialize;

use super::super::words::{self, MOST_ENTRIES};
use crate::{
    diagnose::{Followed, followed, lost_after},
    evidence::{Evidence, Flow, Stage, StageCounts},
    filter::Chosen,
    topology::Topologies,
};

/// IP protocol numbers of ICMP.
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// One inner flow, one direction.
#[derive(Debug, Serialize)]
pub(super) struct FlowJson {
    source: IpAddr,
    destination: IpAddr,
    translated_destination: Option<IpAddr>,
    protocol: String,
    source_port: u16,
    destination_port: u16,
    packets: StageCounts,
    lost_after: Option<Stage>,
    answered_by: Option<IpAddr>,
    source_pod: Option<String>,
    destination_pod: Option<String>,
}

/// The flows with most packets, of all or of those that are chosen; and how many more there are.
pub(super) fn flows(
    topologies: &Topologies<'_>,
    evidence: &Evidence,
    chosen: Option<&Chosen<'_>>,
) -> (Vec<FlowJson>, u64) {
    let all = evidence.traffic.as_ref().map_or(&[][..], |traffic| &traffic.flows);
    let is_meant = |flow: &&Flow| chosen.is_none_or(|it| it.takes_flow(flow));
    let follow = |flow| followed(flow, evidence.traffic.as_ref()?);
    let mut order: Vec<(&Flow, Option<Followed<'_>>)> =
        all.iter().filter(is_meant).map(|flow| (flow, follow(flow))).collect();
    // What a flow to a service is called behind it is told with that flow.
    let told: HashSet<_> =
        order.iter().filter_map(|(_, followed)| followed.as_ref()?.continuation.map(key)).collect();
    order.retain(|(flow, _)| !told.contains(&key(flow)));
    order.sort_by_key(|(flow, _)| (Reverse(most(flow)), key(flow)));
    let more = order.len().saturating_sub(MOST_ENTRIES);
    order.truncate(MOST_ENTRIES);
    let listed = order
        .into_iter()
        .map(|(flow, followed)| FlowJson {
            source: flow.source,
            destination: flow.asked_as.map_or(flow.destination, |it| it.ip()),
            translated_destination: flow
                .asked_as
                .map(|_| flow.destination)
                .or(flow.translated_destination),
            protocol: words::protocol(flow.protocol),
            source_port: flow.source_port,
            destination_port: flow.asked_as.map_or(flow.destination_port, |it| it.port()),
            packets: followed.as_ref().map_or(flow.packets, |it| it.whole.packets),
            lost_after: lost_after(evidence, topologies.for_address(flow.destination), flow),
            answered_by: followed
                .and_then(|it| answered_by(&it.whole, all, evidence))
                .or_else(|| answered_by(flow, all, evidence)),
            source_pod: None,
            destination_pod: None,
        })
        .collect();
    (listed, more as u64)
}

fn most(flow: &Flow) -> u64 {
    Stage::ALL.into_iter().map(|stage| flow.packets.at(stage)).max().unwrap_or(0).max(flow.leaked)
}

const fn key(flow: &Flow) -> (IpAddr, IpAddr, u8, u16, u16) {
    (flow.source, flow.destination, flow.protocol, flow.source_port, flow.destination_port)
}

/// The source of the reverse flow. A service address never answers itself: there the answer comes
/// from the pod behind it.
fn answered_by(flow: &Flow, all: &[Flow], evidence: &Evidence) -> Option<IpAddr> {
    let to_service =
        evidence.intent.service_cidrs.iter().any(|cidr| cidr.contains(&flow.destination));
    let reverse = |other: &&Flow| {
        other.protocol == flow.protocol
            && other.destination == flow.source
            && (to_service || other.source == flow.destination)
            && ports_answer(flow, other)
    };
    all.iter().find(reverse).map(|other| other.source)
}

/// Ports change places; an echo reply has its request's identifier.
const fn ports_answer(flow: &Flow, other: &Flow) -> bool {
    match echo_reply(flow.protocol) {
        Some(reply) => {
            flow.source_port != reply
                && other.source_port == reply
                && flow.destination_port == other.destination_port
        }
        None => {
            flow.source_port == other.destination_port && flow.destination_port == other.source_port
        }
    }
}

/// The type of an echo reply (RFC 792, RFC 4443), which stands in a flow's source port.
const fn echo_reply(protocol: u8) -> Option<u16> {
    match protocol {
        ICMP => Some(0),
        ICMPV6 => Some(129),
        _ => None,
    }
}
