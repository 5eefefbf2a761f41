use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use ipnet::IpNet;
use tracer_common::stage::{FLOW_COUNTS, LEAK, OVERLAY_IN, OVERLAY_OUT, POD_IN, WIRE_IN, WIRE_OUT};

use super::{
    Observation,
    services::{Services, Translated},
};
use crate::{
    evidence::{Flow, Stage, StageCounts, Stranger, Undelivered},
    kernel::FlowReading,
};

/// Flows that evidence lists.
pub(super) const LISTED: usize = 1_000;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
pub(super) const TCP: u8 = 6;
const DNS_PORT: u16 = 53;

/// What the flow table tells.
pub(super) struct Flows {
    /// Flows with most packets first, and by name among equals.
    pub(super) listed: Vec<Flow>,
    /// Flows beyond [`LISTED`].
    pub(super) left_out: u64,
    /// Senders that no peer's CIDR holds.
    pub(super) strangers: Vec<Stranger>,
    /// For each peer of the observation.
    pub(super) by_peer: Vec<SeenInFlows>,
}

/// What only flows tell of a peer.
#[derive(Default, Clone)]
pub(super) struct SeenInFlows {
    pub(super) asking_out: u64,
    pub(super) addresses_asked: BTreeSet<IpAddr>,
    pub(super) outer_source: Option<IpAddr>,
    /// By inner destination: packets at overlay_in and at pod_in.
    arrived: BTreeMap<IpAddr, (u64, u64)>,
}

impl SeenInFlows {
    /// Destinations for which more came out of the tunnel than went to a pod.
    pub(super) fn undelivered(&self) -> Vec<Undelivered> {
        let missing = self.arrived.iter().filter(|(_, (came, went))| came > went);
        missing
            .map(|(address, (came, went))| Undelivered { address: *address, packets: came - went })
            .collect()
    }
}

/// Compares the flow table at the two ends of the window.
pub(super) fn summarise(observation: &Observation, services: &Services) -> Flows {
    let before: HashMap<_, _> =
        observation.flows_start.iter().map(|flow| (name(flow), flow)).collect();
    let mut flows = Flows {
        listed: Vec::new(),
        left_out: 0,
        strangers: Vec::new(),
        by_peer: vec![SeenInFlows::default(); observation.peers.len()],
    };
    let mut strangers = BTreeMap::new();
    for end in &observation.flows_end {
        let start = before.get(&name(end)).filter(|start| start.birth == end.birth);
        let packets = difference(start.copied(), end);
        if packets == [0; FLOW_COUNTS] {
            continue;
        }
        note_remote(observation, end, &packets, &mut flows.by_peer, &mut strangers);
        let translated = services.translated(&end.name());
        let flow = flow(end, &packets, start.is_none(), translated);
        flows.listed.push(Flow { asked_as: services.asked_as(&end.name()), ..flow });
    }
    flows.listed.sort_by_key(busiest_first);
    flows.left_out = flows.listed.len().saturating_sub(LISTED) as u64;
    flows.strangers = strangers.into_values().collect();
    flows
}

/// Addresses, protocol and ports of a flow.
pub(super) type Name = (IpAddr, IpAddr, u8, u16, u16);

pub(super) const fn name(flow: &FlowReading) -> Name {
    (flow.source, flow.destination, flow.protocol, flow.source_port, flow.destination_port)
}

/// The name of the flow that answers: ports change places, an echo reply keeps the identifier.
pub(super) const fn reverse(flow: &FlowReading) -> Name {
    let (source, destination, protocol, source_port, destination_port) = name(flow);
    match echo(protocol) {
        Some((_, reply)) => (destination, source, protocol, reply, destination_port),
        None => (destination, source, protocol, destination_port, source_port),
    }
}

/// Whether these are ICMP messages about other packets.
pub(super) const fn is_icmp_error(flow: &FlowReading) -> bool {
    match echo(flow.protocol) {
        Some((request, reply)) => flow.source_port != request && flow.source_port != reply,
        None => false,
    }
}

/// Type and code of an echo and of its reply, as the source port of an ICMP flow has them.
const fn echo(protocol: u8) -> Option<(u16, u16)> {
    match protocol {
        ICMP => Some((8 << 8, 0)),
        ICMPV6 => Some((128 << 8, 129 << 8)),
        _ => None,
    }
}

/// Order of flows in evidence: most packets first, then by their own name.
fn busiest_first(flow: &Flow) -> (std::cmp::Reverse<u64>, IpAddr, IpAddr, u8, u16, u16) {
    let most = Stage::ALL.into_iter().map(|stage| flow.packets.at(stage)).max().unwrap_or(0);
    (
        std::cmp::Reverse(most.max(flow.leaked)),
        flow.source,
        flow.destination,
        flow.protocol,
        flow.source_port,
        flow.destination_port,
    )
}

/// Packets in the window. A reborn flow counts from its birth; a counter that wrapped meanwhile
/// is below its start by a multiple of 2^32.
pub(super) fn difference(start: Option<&FlowReading>, end: &FlowReading) -> [u64; FLOW_COUNTS] {
    let Some(start) = start else { return end.packets };
    let mut packets = end.packets;
    for (count, before) in packets.iter_mut().zip(start.packets) {
        let wraps = before.saturating_sub(*count).div_ceil(1 << 32);
        *count = *count + (wraps << 32) - before;
    }
    packets
}

fn note_remote(
    observation: &Observation,
    flow: &FlowReading,
    packets: &[u64; FLOW_COUNTS],
    by_peer: &mut [SeenInFlows],
    strangers: &mut BTreeMap<(IpAddr, IpAddr), Stranger>,
) {
    // What passes through this node, or is somebody's tunnel in the tunnel, asks nothing of us.
    let asked = packets[WIRE_OUT].min(packets[OVERLAY_OUT]);
    if asked > 0
        && asks_for_an_answer(flow)
        && holds(&observation.own, flow.source)
        && let Some(peer) = peer_of(observation, flow.destination)
    {
        by_peer[peer].asking_out += asked;
        by_peer[peer].addresses_asked.insert(flow.destination);
    }
    let sender = peer_of(observation, flow.source);
    if let Some(peer) = sender {
        let (came, went) = by_peer[peer].arrived.entry(flow.destination).or_default();
        *came += packets[OVERLAY_IN];
        *went += packets[POD_IN];
    }
    let Some(outer) = flow.outer_remote.filter(|_| packets[WIRE_IN] > 0) else { return };
    if let Some(peer) = sender {
        by_peer[peer].outer_source = Some(outer);
    } else {
        let network = pod_network(observation, flow.source);
        let stranger = strangers.entry((outer, network)).or_insert_with(|| Stranger {
            inner_source: flow.source,
            outer_source: outer,
            packets: 0,
        });
        stranger.packets += packets[WIRE_IN];
    }
}

pub(super) fn holds(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

pub(super) fn peer_of(observation: &Observation, address: IpAddr) -> Option<usize> {
    observation.peers.iter().position(|cidr| cidr.contains(&address))
}

/// The network of an unknown sender's pod, by the size of our own.
fn pod_network(observation: &Observation, address: IpAddr) -> IpAddr {
    let own = observation.own.iter().find(|own| own.addr().is_ipv4() == address.is_ipv4());
    let length = own.map_or(if address.is_ipv4() { 24 } else { 64 }, IpNet::prefix_len);
    IpNet::new(address, length).map_or(address, |network| network.network())
}

/// Whether a healthy far end would answer: TCP, an echo, a DNS query. UDP in general may not.
pub(super) const fn asks_for_an_answer(flow: &FlowReading) -> bool {
    match (flow.protocol, echo(flow.protocol)) {
        (TCP, _) => true,
        (_, Some((request, _))) => flow.source_port == request,
        _ => flow.destination_port == DNS_PORT,
    }
}

fn flow(
    reading: &FlowReading,
    packets: &[u64; FLOW_COUNTS],
    born_in_window: bool,
    translated: Option<&Translated>,
) -> Flow {
    let mut counts = StageCounts::default();
    for (index, stage) in Stage::ALL.into_iter().enumerate() {
        *counts.at_mut(stage) = packets[index];
    }
    let received = packets[WIRE_IN] > 0 && packets[OVERLAY_OUT] == 0;
    Flow {
        source: reading.source,
        destination: reading.destination,
        protocol: reading.protocol,
        // Of an ICMP message's type and code the type is what names its flow.
        source_port: match echo(reading.protocol) {
            Some(_) => reading.source_port >> 8,
            None => reading.source_port,
        },
        destination_port: reading.destination_port,
        packets: counts,
        leaked: packets[LEAK],
        born_in_window,
        outer_source: reading.outer_remote.filter(|_| received),
        translated_destination: translated.map(|it| it.sent_as.destination),
        translated_port: translated
            .filter(|it| it.is_followed)
            .map(|it| it.sent_as.destination_port),
        asked_as: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(
        source: [u8; 4],
        destination: [u8; 4],
        protocol: u8,
        ports: (u16, u16),
    ) -> FlowReading {
        FlowReading {
            source: source.into(),
            destination: destination.into(),
            protocol,
            source_port: ports.0,
            destination_port: ports.1,
            packets: [0; FLOW_COUNTS],
            birth: 1,
            outer_remote: None,
        }
    }

    fn with(mut flow: FlowReading, stage: usize, packets: u64) -> FlowReading {
        flow.packets[stage] = packets;
        flow
    }

    fn observation(start: Vec<FlowReading>, end: Vec<FlowReading>) -> Observation {
        Observation {
            peers: vec!["10.244.2.0/24".parse().unwrap()],
            own: vec!["10.244.1.0/24".parse().unwrap()],
            flows_start: start,
            flows_end: end,
            ..Observation::default()
        }
    }

    fn summarised(observation: &Observation) -> Flows {
        summarise(observation, &Services::of(observation))
    }

    const POD: [u8; 4] = [10, 244, 1, 5];
    const PEER_POD: [u8; 4] = [10, 244, 2, 5];

    #[test]
    fn only_the_window_counts_and_a_reborn_flow_counts_from_its_birth() {
        let flow = reading(POD, PEER_POD, TCP, (1, 2));
        let reborn = FlowReading { birth: 9, ..with(flow, WIRE_OUT, 4) };
        for (end, packets, born) in [(with(flow, WIRE_OUT, 30), 10, false), (reborn, 4, true)] {
            let flows = summarised(&observation(vec![with(flow, WIRE_OUT, 20)], vec![end]));
            assert_eq!(flows.listed[0].packets.wire_out, packets);
            assert_eq!(flows.listed[0].born_in_window, born);
        }
    }

    #[test]
    fn a_wrapped_counter_goes_on() {
        let flow = reading(POD, PEER_POD, TCP, (1, 2));
        let start = with(flow, WIRE_OUT, u64::from(u32::MAX) - 1);
        let flows = summarised(&observation(vec![start], vec![with(flow, WIRE_OUT, 8)]));
        assert_eq!(flows.listed[0].packets.wire_out, 10);
    }

    #[test]
    fn only_what_asks_for_an_answer_is_asking() {
        for (protocol, ports, asking) in [
            (TCP, (40000, 80), 7),
            (ICMP, (0x0800, 3), 7),
            (ICMP, (0, 3), 0),
            (ICMPV6, (0x8000, 3), 7),
            (ICMPV6, (0x8100, 3), 0),
            (17, (40000, 53), 7),
            (17, (40000, 514), 0),
        ] {
            let end = out(reading(POD, PEER_POD, protocol, ports), 7);
            assert_eq!(summarised(&observation(vec![], vec![end])).by_peer[0].asking_out, asking);
        }
    }

    fn out(flow: FlowReading, packets: u64) -> FlowReading {
        with(with(flow, OVERLAY_OUT, packets), WIRE_OUT, packets)
    }

    #[test]
    fn what_passes_through_or_was_tunnelled_by_a_pod_asks_nothing_of_us() {
        let through = out(reading([192, 0, 2, 9], PEER_POD, TCP, (1, 2)), 7);
        let nested = with(reading(POD, PEER_POD, TCP, (3, 4)), WIRE_OUT, 7);
        let seen = &summarised(&observation(vec![], vec![through, nested])).by_peer[0];
        assert_eq!((seen.asking_out, seen.addresses_asked.len()), (0, 0));
    }

    #[test]
    fn an_address_that_gets_less_than_came_is_undelivered() {
        let dead = with(reading(PEER_POD, [10, 244, 1, 77], TCP, (1, 2)), OVERLAY_IN, 9);
        let live = with(with(reading(PEER_POD, POD, TCP, (1, 2)), OVERLAY_IN, 9), POD_IN, 9);
        let seen = &summarised(&observation(vec![], vec![dead, live])).by_peer[0];
        let address = IpAddr::from([10, 244, 1, 77]);
        assert_eq!(seen.undelivered(), [Undelivered { address, packets: 9 }]);
    }

    #[test]
    fn a_sender_without_a_known_cidr_is_a_stranger() {
        let outer = Some(IpAddr::from([192, 0, 2, 7]));
        let known = FlowReading {
            outer_remote: outer,
            ..with(reading(PEER_POD, POD, TCP, (1, 2)), WIRE_IN, 3)
        };
        let unknown = FlowReading { source: [10, 244, 9, 9].into(), ..known };
        let flows = summarised(&observation(
            vec![],
            vec![known, unknown, FlowReading { source_port: 8, ..unknown }],
        ));
        assert_eq!(flows.by_peer[0].outer_source, outer);
        assert_eq!(flows.strangers.len(), 1);
        assert_eq!(flows.strangers[0].packets, 6);
    }
}
