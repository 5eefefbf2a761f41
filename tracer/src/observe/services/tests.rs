use tracer_common::{
    peer::FIRST_PEER,
    stage::{FLOW_COUNTS, WIRE_OUT},
};

use super::*;
use crate::{
    evidence::{StagePair, Traffic},
    kernel::{Reading, SlotReading},
    observe::{Moment, traffic},
};

const SERVICE: &str = "10.96.0.10";
const PEER_POD: &str = "10.244.2.5";
const PEER: usize = FIRST_PEER as usize;

fn name(destination: &str, ports: (u16, u16)) -> FlowName {
    FlowName {
        source: [10, 244, 1, 5].into(),
        destination: destination.parse().unwrap(),
        protocol: 17,
        source_port: ports.0,
        destination_port: ports.1,
    }
}

fn reading(name: FlowName, stage: usize, packets: u64) -> FlowReading {
    let mut counts = [0; FLOW_COUNTS];
    counts[stage] = packets;
    FlowReading {
        source: name.source,
        destination: name.destination,
        protocol: name.protocol,
        source_port: name.source_port,
        destination_port: name.destination_port,
        packets: counts,
        birth: 1,
        outer_remote: None,
    }
}

fn networks() -> (Vec<IpNet>, Vec<IpNet>) {
    (vec!["10.244.1.0/24".parse().unwrap()], vec!["10.244.2.0/24".parse().unwrap()])
}

fn asked_for(now: &[FlowReading], earlier: Option<&Asked>, most: usize) -> Questions {
    let (own, peers) = networks();
    questions((&own, &peers), (&[], now), earlier, most)
}

fn answer(from: FlowName, to: FlowName, id: u32) -> (FlowName, Option<Connection>) {
    (from, Some(Connection { id, sent_as: to }))
}

#[test]
fn what_pods_send_to_nobodys_pod_is_asked_for() {
    let now = [
        reading(name(SERVICE, (1, 53)), POD_OUT, 5),
        reading(name("198.51.100.7", (1, 443)), POD_OUT, 9),
    ];
    let flows = vec![name("198.51.100.7", (1, 443)), name(SERVICE, (1, 53))];
    assert_eq!(asked_for(&now, None, 9), Questions { flows, ..Questions::default() });
}

#[test]
fn what_is_certainly_to_no_service_is_not_asked_for() {
    let icmp = |kind: u16| FlowName { protocol: 1, ..name(SERVICE, (kind << 8, 7)) };
    let mut beside = reading(name(SERVICE, (2, 53)), POD_OUT, 5);
    beside.packets[LEAK] = 5;
    let mut direct = reading(name(SERVICE, (3, 53)), POD_OUT, 5);
    direct.packets[OVERLAY_OUT] = 5;
    let now = [
        reading(name(PEER_POD, (1, 53)), POD_OUT, 5),
        reading(name("10.244.1.9", (1, 53)), POD_OUT, 5),
        reading(name("239.1.1.1", (1, 53)), POD_OUT, 5),
        reading(name(SERVICE, (1, 53)), WIRE_OUT, 5),
        reading(FlowName { source: [192, 0, 2, 1].into(), ..name(SERVICE, (1, 53)) }, POD_OUT, 5),
        reading(icmp(0), POD_OUT, 5),
        beside,
        direct,
    ];
    assert_eq!(asked_for(&now, None, 9), Questions::default());
    assert_eq!(asked_for(&[reading(icmp(8), POD_OUT, 5)], None, 9).flows.len(), 1);
}

#[test]
fn what_sent_nothing_since_is_not_asked_for() {
    let (own, peers) = networks();
    let flow = reading(name(SERVICE, (1, 53)), POD_OUT, 5);
    let asked = questions((&own, &peers), (&[flow], &[flow]), None, 9);
    assert_eq!(asked, Questions::default());
}

#[test]
fn those_of_before_come_first_then_those_with_most_packets_and_the_rest_is_counted() {
    let now: Vec<FlowReading> =
        (1..=9).map(|port| reading(name(SERVICE, (port, 53)), POD_OUT, u64::from(port))).collect();
    let flow = |port| name(SERVICE, (port, 53));
    let gone = (flow(9), None);
    let earlier = Asked {
        answers: vec![answer(flow(1), name(PEER_POD, (1, 53)), 1), gone],
        opened: Vec::new(),
    };
    let asked = asked_for(&now, Some(&earlier), 3);
    assert_eq!(
        asked,
        Questions { flows: vec![flow(1), flow(8), flow(7)], behind: Vec::new(), left_out: 5 }
    );
}

/// A window in which a pod sent 40 and 40 packets to a service, behind which `middle` and `end`
/// stood, and `arrived` of them at the overlay device towards the peer in both halves.
fn window(
    middle: Option<(FlowName, u32)>,
    end: Option<(FlowName, u32)>,
    arrived: (u64, u64),
) -> Traffic {
    let (own, peers) = networks();
    let flow = name(SERVICE, (1, 53));
    let sent = |packets| vec![reading(flow, POD_OUT, packets)];
    let asked = |it: Option<(FlowName, u32)>| {
        let connection = it.map(|(sent_as, id)| Connection { id, sent_as });
        Asked { answers: vec![(flow, connection)], opened: Vec::new() }
    };
    let slots = |packets| {
        let mut slots = vec![SlotReading::default(); PEER + 1];
        slots[PEER].packets[OVERLAY_OUT] = packets;
        let reading = Reading { slots, ..Reading::default() };
        Moment { early: reading.clone(), late: reading }
    };
    let mut flows_end = sent(80);
    let peers_pod = end.map_or(flow, |(sent_as, _)| sent_as);
    if arrived.1 > 0 {
        flows_end.push(reading(peers_pod, OVERLAY_OUT, arrived.1));
    }
    traffic(&Observation {
        peers,
        own,
        start: slots(0),
        middle: slots(arrived.0),
        end: slots(arrived.1),
        flows_start: Vec::new(),
        flows_middle: sent(40),
        flows_followed: sent(80),
        flows_end,
        asked_middle: asked(middle),
        asked_end: asked(end),
    })
}

fn lost(traffic: &Traffic) -> (u64, u64) {
    let peer = &traffic.peers[0];
    let pair = StagePair::PodToOverlay;
    (peer.lost_early.at(pair), peer.lost.at(pair))
}

fn to_service(traffic: &Traffic) -> (Option<IpAddr>, Option<u16>) {
    let flow = traffic.flows.iter().find(|flow| flow.packets.pod_out > 0).unwrap();
    (flow.translated_destination, flow.translated_port)
}

#[test]
fn packets_to_a_service_that_do_not_arrive_are_lost_of_the_peer_behind_it() {
    let pod = name(PEER_POD, (1, 5353));
    let traffic = window(Some((pod, 7)), Some((pod, 7)), (0, 0));
    assert_eq!(lost(&traffic), (40, 80));
    assert_eq!(traffic.peers[0].packets.pod_out, 80);
    assert_eq!(to_service(&traffic), (Some(pod.destination), Some(5353)));
}

#[test]
fn packets_to_a_service_that_arrive_under_the_pods_address_are_none() {
    let pod = name(PEER_POD, (1, 53));
    assert_eq!(lost(&window(Some((pod, 7)), Some((pod, 7)), (40, 80))), (0, 0));
}

#[test]
fn an_entry_that_is_new_or_gone_or_leads_elsewhere_is_no_loss() {
    let (pod, other) = (name(PEER_POD, (1, 53)), name("10.244.2.6", (1, 53)));
    let outside = name("192.0.2.7", (1, 53));
    let local = name("10.244.1.9", (1, 53));
    for (middle, end) in [
        (None, None),
        (Some((pod, 7)), None),
        (None, Some((pod, 7))),
        (Some((pod, 7)), Some((pod, 8))),
        (Some((pod, 7)), Some((other, 7))),
        (Some((outside, 7)), Some((pod, 7))),
        (Some((outside, 7)), Some((outside, 7))),
        (Some((local, 7)), Some((local, 7))),
    ] {
        let traffic = window(middle, end, (0, 0));
        assert_eq!(lost(&traffic), (0, 0), "{middle:?} {end:?}");
        let expected = end.map(|(to, _)| to.destination);
        assert_eq!(to_service(&traffic).0, expected, "{middle:?} {end:?}");
    }
}

#[test]
fn what_went_elsewhere_before_the_middle_is_lost_in_one_half_at_most() {
    let pod = name(PEER_POD, (1, 53));
    // Translated anew in the first half; everything arrives in the second.
    let (early, total) = lost(&window(Some((pod, 7)), Some((pod, 7)), (10, 50)));
    assert_eq!((early, total), (30, 30), "a loss must be in both halves");
}

#[test]
fn a_masqueraded_flow_is_told_and_not_followed() {
    let masqueraded = FlowName { source: [10, 244, 1, 0].into(), ..name(PEER_POD, (61_000, 53)) };
    let traffic = window(Some((masqueraded, 7)), Some((masqueraded, 7)), (0, 0));
    assert_eq!(to_service(&traffic), (Some(masqueraded.destination), None));
    assert_eq!(lost(&traffic), (0, 0));
}

#[test]
fn a_flow_that_is_not_translated_is_no_services() {
    let flow = name(SERVICE, (1, 53));
    let traffic = window(Some((flow, 7)), Some((flow, 7)), (0, 0));
    assert_eq!(to_service(&traffic), (None, None));
}

#[test]
fn at_the_end_flows_to_pods_of_peers_are_asked_for_where_there_is_room() {
    let service = reading(name(SERVICE, (1, 53)), POD_OUT, 1);
    let now = [
        service,
        reading(name(PEER_POD, (1, 53)), POD_OUT, 5),
        reading(name(PEER_POD, (2, 53)), POD_OUT, 9),
        reading(name(PEER_POD, (3, 53)), OVERLAY_OUT, 9),
        reading(FlowName { protocol: 1, ..name(PEER_POD, (8 << 8, 1)) }, POD_OUT, 9),
    ];
    let earlier = Asked::default();
    let expected = Questions {
        flows: vec![service.name()],
        behind: vec![name(PEER_POD, (2, 53))],
        left_out: 1,
    };
    assert_eq!(asked_for(&now, Some(&earlier), 2), expected);
    assert_eq!(asked_for(&now, None, 2).behind, []);
}

#[test]
fn what_the_node_itself_sends_to_pods_of_peers_is_asked_for_too() {
    let from =
        |source: &str| FlowName { source: source.parse().unwrap(), ..name(PEER_POD, (1, 80)) };
    let now = [
        // By the overlay device, un-encapsulated, of a pod to a service, and from another peer.
        reading(from("10.244.1.0"), OVERLAY_OUT, 9),
        reading(from("192.168.1.7"), LEAK, 7),
        reading(from("10.244.1.5"), OVERLAY_OUT, 5),
        reading(from("10.244.2.9"), OVERLAY_OUT, 3),
    ];
    let behind = asked_for(&now, Some(&Asked::default()), 9).behind;
    assert_eq!(behind, [from("10.244.1.0"), from("192.168.1.7")]);
}

#[test]
fn a_flow_that_was_sent_to_a_service_is_named_after_it() {
    let (own, peers) = networks();
    let flow = name(PEER_POD, (1, 5353));
    for (opened, expected) in
        [(name(SERVICE, (1, 53)), Some("10.96.0.10:53".parse().unwrap())), (flow, None)]
    {
        let traffic = traffic(&Observation {
            own: own.clone(),
            peers: peers.clone(),
            flows_end: vec![reading(flow, POD_OUT, 7)],
            asked_end: Asked { answers: Vec::new(), opened: vec![(flow, opened)] },
            ..Observation::default()
        });
        assert_eq!(traffic.flows[0].asked_as, expected);
        assert_eq!(traffic.flows[0].destination, flow.destination);
    }
}

#[test]
fn flows_that_the_kernel_knows_under_their_own_address_are_not_translated() {
    let (own, peers) = networks();
    let to = |port| name(SERVICE, (port, 53));
    let icmp = FlowName { protocol: 1, ..name(SERVICE, (8 << 8, 7)) };
    let (translated, unknown) = (name(SERVICE, (3, 53)), name(SERVICE, (4, 53)));
    let flows = [to(1), to(2), translated, unknown, icmp];
    let answers = vec![
        answer(to(1), to(1), 1),
        // Masquerading changes the source alone.
        answer(to(2), FlowName { source: [192, 0, 2, 9].into(), ..to(2) }, 2),
        answer(translated, name(PEER_POD, (3, 53)), 3),
        (unknown, None),
        answer(icmp, icmp, 5),
        // Nothing was sent in the window.
        answer(to(9), to(9), 9),
    ];
    let old = reading(to(9), POD_OUT, 4);
    let mut flows_end: Vec<FlowReading> =
        flows.into_iter().map(|flow| reading(flow, POD_OUT, 3)).collect();
    flows_end.push(old);
    let traffic = traffic(&Observation {
        own,
        peers,
        flows_start: vec![old, reading(to(1), POD_OUT, 1)],
        flows_end,
        asked_end: Asked { answers, opened: Vec::new() },
        ..Observation::default()
    });
    let destination = SERVICE.parse().unwrap();
    let expected = Untranslated { destination, protocol: 17, port: 53, flows: 2, packets: 5 };
    assert_eq!(traffic.untranslated, [expected]);
}
