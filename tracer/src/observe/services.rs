//! Flows to the addresses of services: which of them the kernel is asked for, and what its answers
//! say of their packets.
//!
//! A service's address becomes that of a pod between pod_out and overlay_out, or before pod_out where
//! the bridge hands its packets to iptables. What the table of
//! connections says of a flow is true of one moment, so a flow is followed only when it said the same
//! in the middle and at the end of the window: packets that went elsewhere before are then counted as
//! lost in the first half at most, and a loss must be in both.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use tracer_common::stage::{LEAK, OVERLAY_OUT, POD_OUT};

use super::{
    Observation,
    flows::{asks_for_an_answer, difference, holds},
};
use crate::{
    evidence::{Untranslated, has_ports},
    kernel::{FlowName, FlowReading},
    netlink::Connection,
};

const ICMP: [u8; 2] = [1, 58];

/// The flows that the kernel is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Questions {
    /// Flows that may be to a service: those of earlier answers first, then those with most packets.
    pub flows: Vec<FlowName>,
    /// Flows to pods of peers, which may have been sent to a service: those with most packets.
    pub behind: Vec<FlowName>,
    /// Flows that may be a service's too, and that nobody has asked for.
    pub left_out: u64,
}

/// What the table of connections said at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Each flow that was asked for.
    pub answers: Vec<(FlowName, Option<Connection>)>,
    /// Flows to pods, and under which name they were opened.
    pub opened: Vec<(FlowName, FlowName)>,
}

// === impl Asked ===

impl Asked {
    /// The flows of which the table knew.
    #[must_use]
    pub fn known(&self) -> Vec<FlowName> {
        let known = self.answers.iter().filter(|(_, connection)| connection.is_some());
        known.map(|(flow, _)| *flow).collect()
    }

    fn by_flow(&self) -> HashMap<FlowName, Connection> {
        let known = self.answers.iter();
        known.filter_map(|(flow, connection)| Some((*flow, (*connection)?))).collect()
    }
}

/// The flows to ask for, at most `most` of them: what pods sent since `before` to addresses that are
/// no pod's, and that left this node under no such address; and, at the end of a window, what they and
/// this node itself sent to pods of peers: in the node's name goes what clients sent to a VIP.
/// `earlier` is what was asked in its middle, `None` when this is the middle.
#[must_use]
pub fn questions(
    (own, peers): (&[IpNet], &[IpNet]),
    (before, now): (&[FlowReading], &[FlowReading]),
    earlier: Option<&Asked>,
    most: usize,
) -> Questions {
    let before: HashMap<FlowName, &FlowReading> =
        before.iter().map(|flow| (flow.name(), flow)).collect();
    let sent = |flow: &FlowReading| {
        let start = before.get(&flow.name()).filter(|start| start.birth == flow.birth);
        let packets = difference(start.copied(), flow);
        if is_nodes(own, flow.source) {
            packets[OVERLAY_OUT] + packets[LEAK]
        } else {
            packets[POD_OUT]
        }
    };
    let busiest = |is_meant: &dyn Fn(&FlowReading) -> bool| {
        let meant = now.iter().filter(|flow| is_meant(flow));
        let flows = meant.map(|flow| (Reverse(sent(flow)), flow.name()));
        let mut flows: Vec<_> = flows.filter(|(Reverse(sent), _)| *sent > 0).collect();
        flows.sort_unstable();
        flows.into_iter().map(|(_, flow)| flow).collect::<Vec<_>>()
    };
    let known: HashSet<FlowName> =
        earlier.iter().flat_map(|it| &it.answers).map(|(flow, _)| *flow).collect();
    let new = busiest(&|flow| may_be_to_service(own, peers, flow) && !known.contains(&flow.name()));
    let mut flows = earlier.map(Asked::known).unwrap_or_default();
    flows.truncate(most);
    let mut left_out = take_up_to(most, &mut flows, new);
    let mut behind = Vec::new();
    if earlier.is_some() {
        let to_peers = busiest(&|flow| {
            has_ports(flow.protocol) && !holds(peers, flow.source) && holds(peers, flow.destination)
        });
        left_out += take_up_to(most - flows.len(), &mut behind, to_peers);
    }
    Questions { flows, behind, left_out }
}

/// Whether an address, which is no peer's, is no pod's here: the node has the first of its pod network
/// on the overlay device.
fn is_nodes(own: &[IpNet], address: IpAddr) -> bool {
    !holds(own, address) || own.iter().any(|network| network.network() == address)
}

/// Takes more until there are so many, and says how many are left.
fn take_up_to(most: usize, flows: &mut Vec<FlowName>, more: Vec<FlowName>) -> u64 {
    let room = most - flows.len();
    let left_out = more.len().saturating_sub(room);
    flows.extend(more.into_iter().take(room));
    left_out as u64
}

fn may_be_to_service(own: &[IpNet], peers: &[IpNet], flow: &FlowReading) -> bool {
    let has_name =
        has_ports(flow.protocol) || (ICMP.contains(&flow.protocol) && asks_for_an_answer(flow));
    let is_pods = |address| holds(own, address) || holds(peers, address);
    has_name
        && flow.packets[OVERLAY_OUT] == 0
        && flow.packets[LEAK] == 0
        && holds(own, flow.source)
        && !is_pods(flow.destination)
        && is_for_one(flow.destination)
}

const fn is_for_one(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !address.is_multicast() && !address.is_broadcast() && !address.is_unspecified()
        }
        IpAddr::V6(address) => !address.is_multicast() && !address.is_unicast_link_local(),
    }
}

/// The flows whose destination was translated.
pub(super) struct Services {
    by_flow: HashMap<FlowName, Translated>,
    opened: HashMap<FlowName, FlowName>,
    untranslated: HashSet<FlowName>,
}

/// What became of a flow's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Translated {
    /// How its packets are named from overlay_out on.
    pub(super) sent_as: FlowName,
    /// Whether that holds for the second half of the window, with the source as it was.
    pub(super) is_followed: bool,
}

// === impl Services ===

impl Services {
    /// By what was asked in the middle and at the end.
    pub(super) fn of(observation: &Observation) -> Self {
        let middle = observation.asked_middle.by_flow();
        let end = observation.asked_end.by_flow();
        let stays =
            |(flow, it): &(&FlowName, &Connection)| !moves(flow, it) && has_ports(flow.protocol);
        let untranslated = end.iter().filter(stays).map(|(flow, _)| *flow).collect();
        let translated = end.into_iter().filter(|(flow, it)| moves(flow, it)).map(|(flow, it)| {
            let keeps_source =
                (it.sent_as.source, it.sent_as.source_port) == (flow.source, flow.source_port);
            let is_followed = keeps_source && middle.get(&flow) == Some(&it);
            (flow, Translated { sent_as: it.sent_as, is_followed })
        });
        let opened = observation.asked_end.opened.iter().copied();
        let opened = opened.filter(|(flow, as_it)| flow.destination != as_it.destination);
        Self { by_flow: translated.collect(), opened: opened.collect(), untranslated }
    }

    /// What became of this flow's name.
    pub(super) fn translated(&self, flow: &FlowName) -> Option<&Translated> {
        self.by_flow.get(flow)
    }

    /// The service to which this flow was sent, when the stages know it by a pod's address.
    pub(super) fn asked_as(&self, flow: &FlowName) -> Option<SocketAddr> {
        let opened = self.opened.get(flow)?;
        Some(SocketAddr::new(opened.destination, opened.destination_port))
    }

    /// What pods sent in the window to addresses that nothing translates.
    pub(super) fn untranslated(
        &self,
        start: &[FlowReading],
        end: &[FlowReading],
    ) -> Vec<Untranslated> {
        let before: HashMap<FlowName, &FlowReading> =
            start.iter().map(|flow| (flow.name(), flow)).collect();
        let mut found = BTreeMap::<(IpAddr, u8, u16), (u64, u64)>::new();
        for flow in end.iter().filter(|flow| self.untranslated.contains(&flow.name())) {
            let start = before.get(&flow.name()).filter(|start| start.birth == flow.birth);
            let sent = difference(start.copied(), flow)[POD_OUT];
            if sent > 0 {
                let to = (flow.destination, flow.protocol, flow.destination_port);
                let (flows, packets) = found.entry(to).or_default();
                (*flows, *packets) = (*flows + 1, *packets + sent);
            }
        }
        let told = |((destination, protocol, port), (flows, packets))| Untranslated {
            destination,
            protocol,
            port,
            flows,
            packets,
        };
        found.into_iter().map(told).collect()
    }

    /// Packets at pod_out of flows that are followed, for each peer of the observation: until the
    /// middle and altogether, not more than were counted when the slots were read next.
    pub(super) fn sent_by_peer(&self, observation: &Observation) -> Vec<Sent> {
        let mut sent = vec![Sent::default(); observation.peers.len()];
        let [start, middle, end] =
            [&observation.flows_start, &observation.flows_middle, &observation.flows_followed]
                .map(|flows| self.followed_in(flows));
        let since_start = |now: &FlowReading| {
            let before = start.get(&now.name()).filter(|before| before.birth == now.birth);
            difference(before.copied(), now)[POD_OUT]
        };
        for (flow, translated) in self.by_flow.iter().filter(|(_, it)| it.is_followed) {
            let holds = |cidr: &IpNet| cidr.contains(&translated.sent_as.destination);
            let Some(peer) = observation.peers.iter().position(holds) else { continue };
            let early = middle.get(flow).map_or(0, |flow| since_start(flow));
            let total = end.get(flow).map_or(0, |flow| since_start(flow)).max(early);
            sent[peer].early += early;
            sent[peer].total += total;
        }
        sent
    }

    fn followed_in<'a>(&self, flows: &'a [FlowReading]) -> HashMap<FlowName, &'a FlowReading> {
        let named = flows.iter().map(|flow| (flow.name(), flow));
        let is_followed = |flow: &FlowName| self.by_flow.get(flow).is_some_and(|it| it.is_followed);
        named.filter(|(name, _)| is_followed(name)).collect()
    }
}

/// Packets at pod_out to services' addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) early: u64,
    pub(super) total: u64,
}

fn moves(flow: &FlowName, connection: &Connection) -> bool {
    connection.sent_as.destination != flow.destination
}

#[cfg(test)]
mod tests;
