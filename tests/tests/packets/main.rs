//! Packets that no healthy sender makes, through the real hooks: the programs count what they are,
//! no finding appears, and the healthy traffic beside them stays exact.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod cases;
mod craft;
mod headers;
mod sights;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tracer::evidence::{Evidence, Flow as Row, Stage, StageCounts, Traffic as Seen};
use tracer_tests::{
    counters::{Counters, Protocol},
    inject,
    lab::{LOCK_WAIT, Lab},
    netns,
    node::kernel_has_bridge_netfilter,
    plan::{Plan, SYSLOG_PORT},
    poll::poll_until,
    script::{Script, Tool},
    seed::Shape,
    tracer::Intent,
    traffic::{Flow, Limits, Sender, Stop, Traffic},
};

use self::cases::{Case, Expected};

/// Healthy datagrams each way.
const DATAGRAMS: u64 = 2_000;
/// Datagrams of a pod that need three fragments each.
const LARGE: u64 = 20;
const LARGE_SIZE: usize = 3_000;
const ARRIVAL: Duration = Duration::from_secs(5);

/// The node whose hooks get the packets, and its peer.
const NODE: usize = 0;
const PEER: usize = 1;

#[test]
fn odd_packets_are_counted_and_nothing_else_changes() {
    // A bridge that hands its packets to iptables drops malformed ones before any hook.
    let shape = Shape { nodes: Some(2), bridge_netfilter: false, ..Shape::default() };
    let lab = Lab::up(Plan::draw(131, &shape), LOCK_WAIT).unwrap();
    if kernel_has_bridge_netfilter() {
        let off = "bridge/bridge-nf-call-iptables=0".to_owned();
        Script::new(Tool::Sysctl, Some(netns::SWITCH), [off]).run().unwrap();
    }
    let watches = [NODE, PEER].map(|node| lab.watch(node, Intent::SubnetEnv, &[]).unwrap());
    let cases = cases::all(lab.plan(), &bridge_mac(&lab));
    let healthy = start_healthy(&lab);
    for case in &cases {
        inject::frames(&case.namespace, &case.device, &case.copies()).unwrap();
    }
    for (sender, counts) in healthy.finish().unwrap() {
        assert_eq!((counts.sent, counts.errors), (DATAGRAMS, 0), "{sender:?}");
    }
    send_large(&lab);

    let [node, peer] = watches.map(|watch| {
        let watched = watch.end().unwrap();
        assert_eq!((watched.check.status, watched.check.findings()), (0, vec![]));
        serde_json::from_value::<Evidence>(watched.evidence).unwrap().traffic.unwrap()
    });
    assert_errors(&node, &cases);
    for case in &cases {
        case.assert_row(&node);
    }
    assert_healthy(&lab, &node, &peer);
    assert_large(&lab, &node, &peer);
    let slow = cases.iter().filter(|case| case.slow).map(Case::packets).sum::<u64>();
    assert!(node.own.slow_parse >= slow, "{} of {slow} read by copy", node.own.slow_parse);
    println!("{} kinds of packets: {} parse errors", cases.len(), node.own.parse_errors);
}

/// The MAC of the node's bridge, which pods send to.
fn bridge_mac(lab: &Lab) -> String {
    let node = &lab.plan().nodes[NODE];
    let output = netns::command_in(&node.namespace, "ip")
        .args(["-j", "link", "show", "dev", &node.bridge])
        .output()
        .unwrap();
    let links: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    links[0]["address"].as_str().unwrap().to_owned()
}

fn pod(lab: &Lab, node: usize) -> Ipv4Addr {
    lab.plan().nodes[node].first_pod().unwrap().ip.v4
}

fn start_healthy(lab: &Lab) -> Traffic {
    let sender = |from: usize, to: usize| Sender {
        namespace: lab.plan().nodes[from].first_pod().unwrap().namespace.clone(),
        flow: Flow::UdpOneWay { to: SocketAddr::new(pod(lab, to).into(), SYSLOG_PORT), size: 120 },
        limits: Limits::exactly(DATAGRAMS, 2_000.0),
    };
    Traffic::start(vec![sender(NODE, PEER), sender(PEER, NODE)])
}

/// Fragments of a pod's own, to a port of their own; returns when they have arrived.
fn send_large(lab: &Lab) {
    let peer = &lab.plan().nodes[PEER];
    let counters = Counters::install(lab.plan(), peer, Protocol::Udp, cases::LARGE_PORT).unwrap();
    let to = SocketAddr::new(pod(lab, PEER).into(), cases::LARGE_PORT);
    let from = lab.plan().nodes[NODE].first_pod().unwrap();
    netns::run_in(&from.namespace, || {
        let flow = Flow::UdpOneWay { to, size: LARGE_SIZE };
        flow.generate(Limits::exactly(LARGE, 1_000.0), &Stop::default())
    })
    .unwrap();
    poll_until("the last fragments", ARRIVAL, || {
        let seen = counters.read()?["pod_in"];
        anyhow::ensure!(seen >= LARGE, "{seen} of {LARGE} first fragments");
        Ok(())
    })
    .unwrap();
}

/// Exactly the kinds that were sent, at the stage that saw them first. What of them the kernel lets
/// through is seen again behind it, as the same or a plain kind.
fn assert_errors(seen: &Seen, cases: &[Case]) {
    let mut expected: BTreeMap<(Stage, &str), u64> = BTreeMap::new();
    for case in cases {
        if let Expected::Error(stage, kind) = case.expected {
            *expected.entry((stage, kind.name())).or_default() += case.packets();
        }
    }
    let first_seen = [Stage::PodOut, Stage::WireOut, Stage::WireIn];
    let counted: BTreeMap<(Stage, &str), u64> = seen
        .parse_errors
        .iter()
        .filter(|error| first_seen.contains(&error.stage))
        .map(|error| ((error.stage, error.kind.as_str()), error.packets))
        .collect();
    assert_eq!(counted, expected);
    for error in seen.parse_errors.iter().filter(|error| !first_seen.contains(&error.stage)) {
        println!("also at {}: {} {}", error.stage.name(), error.packets, error.kind);
    }
    let all: u64 = seen.parse_errors.iter().map(|error| error.packets).sum();
    assert_eq!(seen.own.parse_errors, all);
}

fn row(seen: &Seen, source: Ipv4Addr, destination: Ipv4Addr, port: u16) -> Option<&Row> {
    seen.flows.iter().find(|row| {
        (row.source, row.destination) == (source.into(), destination.into())
            && (row.protocol, row.destination_port) == (17, port)
    })
}

fn assert_healthy(lab: &Lab, node: &Seen, peer: &Seen) {
    let [own, other] = [NODE, PEER].map(|it| pod(lab, it));
    for (seen, own, other) in [(node, own, other), (peer, other, own)] {
        let sent = row(seen, own, other, SYSLOG_PORT).unwrap();
        assert_eq!(sent.packets, out(DATAGRAMS));
        let received = row(seen, other, own, SYSLOG_PORT).unwrap();
        assert_eq!(received.packets, into(DATAGRAMS));
    }
}

/// Of each datagram the first fragment is its flow's, and the two later ones are counted apart.
fn assert_large(lab: &Lab, node: &Seen, peer: &Seen) {
    let [own, other] = [NODE, PEER].map(|it| pod(lab, it));
    for (seen, expected) in [(node, out(LARGE)), (peer, into(LARGE))] {
        let row = row(seen, own, other, cases::LARGE_PORT).unwrap();
        assert_eq!(row.packets, expected);
        assert_eq!(seen.stages.fragments.packets, 2 * 3 * LARGE);
    }
}

fn out(packets: u64) -> StageCounts {
    StageCounts {
        pod_out: packets,
        overlay_out: packets,
        wire_out: packets,
        ..StageCounts::default()
    }
}

fn into(packets: u64) -> StageCounts {
    StageCounts { wire_in: packets, overlay_in: packets, pod_in: packets, ..StageCounts::default() }
}
