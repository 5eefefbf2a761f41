//! Packets that left for a peer and asked for an answer that did not come.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
};

use tracer_common::stage::{OVERLAY_OUT, WIRE_IN, WIRE_OUT};

use super::{
    Observation, evicted,
    flows::{
        Name, TCP, asks_for_an_answer, difference, holds, is_icmp_error, name, peer_of, reverse,
    },
};
use crate::kernel::FlowReading;

/// How many packets of one flow must have asked before silence means something.
const ENOUGH: u64 = 3;
/// The first port that the kernel gives to whoever opens a connection (ip_local_port_range,
/// net/ipv4/af_inet.c, Linux 6.18).
const EPHEMERAL: u16 = 32_768;

/// Packets of one peer's flows that asked in both halves of the window and got nothing back.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Unanswered {
    /// In the whole window.
    pub(super) packets: u64,
    /// Until its middle.
    pub(super) early: u64,
    /// To whom they were.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// Packets of flows that asked and got an answer, in the whole window.
    pub(super) answered: u64,
}

/// For each peer of the observation. Where a flow was evicted or refused, an answer may have been
/// in it: then nothing is told.
pub(super) fn by_peer(observation: &Observation) -> Vec<Unanswered> {
    let mut told = vec![Unanswered::default(); observation.peers.len()];
    let refused = observation.end.late.flow_insert_failures;
    if evicted(observation) > 0 || refused > 0 {
        return told;
    }
    let start = by_name(&observation.flows_start);
    let middle = by_name(&observation.flows_middle);
    let answers = Answers::of(&observation.flows_end);
    let ours = |flow: &&FlowReading| {
        // What passes through this node may be answered by another way.
        asks_for_an_answer(flow)
            && holds(&observation.own, flow.source)
            && flow.packets[OVERLAY_OUT] > 0
    };
    for end in observation.flows_end.iter().filter(ours) {
        let sent = |now: &FlowReading| {
            let before = start.get(&name(now)).filter(|start| start.birth == now.birth);
            difference(before.copied(), now)[WIRE_OUT]
        };
        let packets = sent(end);
        let early = middle.get(&name(end)).map_or(0, |flow| sent(flow));
        let Some(peer) = peer_of(observation, end.destination) else { continue };
        let told = &mut told[peer];
        if answers.has_one_to(end) {
            told.answered += if is_itself_an_answer(end) { 0 } else { packets };
        } else if packets >= ENOUGH && early > 0 && packets > early {
            told.packets += packets;
            told.early += early;
            told.addresses.insert(end.destination);
        }
    }
    told
}

/// Whether the peer opened the connection: what came is its question then, and no answer. In doubt
/// it is not.
const fn is_itself_an_answer(flow: &FlowReading) -> bool {
    flow.protocol == TCP && flow.source_port < EPHEMERAL && flow.destination_port >= EPHEMERAL
}

fn by_name(flows: &[FlowReading]) -> HashMap<Name, &FlowReading> {
    flows.iter().map(|flow| (name(flow), flow)).collect()
}

/// What came back.
struct Answers {
    flows: HashSet<Name>,
    /// Who was told by ICMP that something went wrong: that is an answer too.
    told_by_icmp: HashSet<IpAddr>,
}

impl Answers {
    fn of(flows: &[FlowReading]) -> Self {
        let came = || flows.iter().filter(|flow| flow.packets[WIRE_IN] > 0);
        Self {
            flows: came().map(name).collect(),
            told_by_icmp: came().filter(|it| is_icmp_error(it)).map(|it| it.destination).collect(),
        }
    }

    fn has_one_to(&self, flow: &FlowReading) -> bool {
        self.flows.contains(&reverse(flow)) || self.told_by_icmp.contains(&flow.source)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tracer_common::stage::FLOW_COUNTS;

    use super::*;

    const POD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 1, 5));
    const PEER_POD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 2, 5));

    fn flow(source: IpAddr, destination: IpAddr, protocol: u8, ports: (u16, u16)) -> FlowReading {
        FlowReading {
            source,
            destination,
            protocol,
            source_port: ports.0,
            destination_port: ports.1,
            packets: [0; FLOW_COUNTS],
            birth: 1,
            outer_remote: None,
        }
    }

    fn out(packets: u64) -> FlowReading {
        let mut ping = flow(POD, PEER_POD, 1, (0x0800, 7));
        ping.packets[OVERLAY_OUT] = packets;
        ping.packets[WIRE_OUT] = packets;
        ping
    }

    fn came(mut flow: FlowReading) -> FlowReading {
        flow.packets[WIRE_IN] = 1;
        flow
    }

    /// A ping with so many packets until the middle and the end, and what else came.
    fn told(middle: u64, end: u64, other: &[FlowReading]) -> Unanswered {
        let mut observation = Observation {
            peers: vec!["10.244.2.0/24".parse().unwrap()],
            own: vec!["10.244.1.0/24".parse().unwrap()],
            flows_middle: vec![out(middle)],
            flows_end: [&[out(end)], other].concat(),
            ..Observation::default()
        };
        observation.end.late.flow_inserts = observation.flows_end.len() as u64;
        by_peer(&observation).remove(0)
    }

    #[test]
    fn silence_in_both_halves_is_told() {
        let addresses = BTreeSet::from([PEER_POD]);
        let expected = Unanswered { packets: 9, early: 4, addresses, answered: 0 };
        assert_eq!(told(4, 9, &[]), expected);
    }

    #[test]
    fn silence_in_one_half_or_after_two_packets_is_not() {
        for (middle, end) in [(0, 9), (9, 9), (1, 2)] {
            assert_eq!(told(middle, end, &[]), Unanswered::default(), "{middle} {end}");
        }
    }

    #[test]
    fn an_answer_or_an_icmp_error_is_an_answer() {
        let reply = came(flow(PEER_POD, POD, 1, (0, 7)));
        let expired = came(flow(IpAddr::from([10, 244, 2, 0]), POD, 1, (0x0b00, 0)));
        for answer in [reply, expired] {
            assert_eq!(told(4, 9, &[answer]), Unanswered { answered: 9, ..Unanswered::default() });
        }
        let of_another_ping = came(flow(PEER_POD, POD, 1, (0, 8)));
        assert_eq!(told(4, 9, &[of_another_ping]).packets, 9);
    }

    #[test]
    fn what_the_peer_asked_by_tcp_is_no_answer_and_in_doubt_it_is_one() {
        let answered = |ours, theirs| {
            let mut out = flow(POD, PEER_POD, TCP, (ours, theirs));
            (out.packets[OVERLAY_OUT], out.packets[WIRE_OUT]) = (5, 5);
            told(4, 9, &[out, came(flow(PEER_POD, POD, TCP, (theirs, ours)))]).answered
        };
        assert_eq!(answered(40_000, 80), 5);
        assert_eq!(answered(80, 40_000), 0);
        assert_eq!((answered(80, 81), answered(40_000, 50_000)), (5, 5));
    }

    #[test]
    fn nothing_is_told_where_an_answer_may_have_been_evicted() {
        let mut observation = Observation {
            peers: vec!["10.244.2.0/24".parse().unwrap()],
            own: vec!["10.244.1.0/24".parse().unwrap()],
            flows_middle: vec![out(4)],
            flows_end: vec![out(9)],
            ..Observation::default()
        };
        observation.end.late.flow_inserts = 2;
        assert_eq!(by_peer(&observation), [Unanswered::default()]);
    }
}
