//! The stages count exactly: what a node sends is what its peer receives, segment by segment.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{net::SocketAddr, time::Duration};

use tracer::evidence::{Evidence, Flow as FlowRow, Stage, StageCounts};
use tracer_tests::{
    counters::{Counters, Packets, Protocol},
    lab::{LOCK_WAIT, Lab},
    matrix::Attach,
    plan::{Family, Node, Plan, SINK_PORT, SYSLOG_PORT, UplinkKind},
    poll::poll_until,
    seed::Shape,
    size,
    tracer::Intent,
    traffic::{Flow, Limits, Sender, Traffic},
    tun::Tun,
    watch::{Watch, Watched},
};

const DATAGRAMS: [u64; 2] = [10_000, 1_000];
const WIRE_IN: &str = "wire_in";
const BULK: [u64; 2] = [100 << 20, 4 << 20];
/// How long the last packets may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(5);

#[test]
fn by_tcx_both_nodes_count_the_same_segments() {
    if Attach::on_this_kernel().contains(&Attach::Tcx) {
        both_nodes_count_the_same_segments(101, "tcx", UplinkKind::Ethernet);
    } else {
        assert_tcx_is_refused(101);
    }
}

#[test]
fn by_clsact_both_nodes_count_the_same_segments() {
    both_nodes_count_the_same_segments(102, "clsact", UplinkKind::Ethernet);
}

/// Uplinks without Ethernet, and received packets of many datagrams whose number no field says.
#[test]
fn without_ethernet_both_nodes_count_the_same_segments() {
    for (seed, attach) in (105..).zip(Attach::on_this_kernel()) {
        both_nodes_count_the_same_segments(seed, attach.name(), UplinkKind::Tun);
    }
}

fn both_nodes_count_the_same_segments(seed: u64, mode: &str, uplink: UplinkKind) {
    let shape = Shape { nodes: Some(2), uplink, ..Shape::default() };
    let lab = Lab::up(Plan::draw(seed, &shape), LOCK_WAIT).unwrap();
    // An idle lab: from here on every counted packet is one of ours.
    let watches = [0, 1].map(|node| watch(&lab, node, mode));
    send_datagrams(&lab);
    send_bulk(&lab);
    let [one, other] = watches.map(|watch| evidence(watch.end().unwrap(), mode));
    let nodes = &lab.plan().nodes;
    for (seen, own, peer) in [(&one, &nodes[0], &nodes[1]), (&other, &nodes[1], &nodes[0])] {
        assert_datagrams_are_exact(seen, own, peer);
        assert_nothing_is_left_over(seen);
        // Of a train's headers only the outer ones lie in the linear part; else that is rare.
        let slow = seen.traffic.as_ref().unwrap().own.slow_parse;
        let is_usual = if joins(&lab) { slow > 0 } else { slow < 100 };
        assert!(is_usual, "{slow} packets were read by copy");
    }
    assert_segments_agree(&one, &other);
    assert_segments_agree(&other, &one);
    let (datagrams, bulk) = (datagrams(), bulk());
    let per_segment = u64::from(lab.plan().pod_mtu() - 52);
    for seen in [&one, &other] {
        let sent = seen.traffic.as_ref().unwrap().stages.overlay_out.packets;
        assert!(sent > datagrams + bulk / per_segment, "{sent} are fewer than the segments sent");
    }
    let total = one.traffic.unwrap().stages.overlay_out.packets;
    println!("seed {seed}, {mode}: {total} segments one way, equal at all six hooks");
}

/// Packets of each flow that is counted one by one.
fn datagrams() -> u64 {
    size::of(DATAGRAMS[0], DATAGRAMS[1])
}

/// Bytes of each transfer.
fn bulk() -> u64 {
    size::of(BULK[0], BULK[1])
}

/// A kernel without TCX: whoever asks for it is told so, and the tables are judged all the same.
fn assert_tcx_is_refused(seed: u64) {
    let shape = Shape { nodes: Some(2), ..Shape::default() };
    let lab = Lab::up(Plan::draw(seed, &shape), LOCK_WAIT).unwrap();
    let answer = lab.check(0, Intent::SubnetEnv, &["--attach", "tcx", "--duration", "1s"]).unwrap();
    assert_eq!((answer.status, answer.findings()), (2, vec![]), "{}", answer.stderr);
    assert_eq!(answer.json["coverage"]["tables"], true);
    assert_eq!(answer.json["coverage"]["stages"], false);
    let said = answer.json["capabilities"].to_string();
    for word in ["Linux 6.6", "--attach auto"] {
        assert!(said.contains(word), "no `{word}` in {said}");
    }
}

fn watch(lab: &Lab, node: usize, mode: &str) -> Watch {
    lab.watch(node, Intent::SubnetEnv, &["--attach", mode]).unwrap()
}

/// The evidence of a watch that found nothing wrong and was attached as asked.
fn evidence(watched: Watched, mode: &str) -> Evidence {
    assert_eq!(watched.check.findings(), []);
    assert_eq!(watched.check.status, 0, "{}", watched.check.stderr);
    let evidence: Evidence = serde_json::from_value(watched.evidence).unwrap();
    assert_eq!(evidence.hooks.len(), 6);
    assert!(evidence.hooks.iter().all(|hook| hook.attached && hook.because == mode));
    evidence
}

/// Sends the same flow from the first pod of each node to that of the other, and waits for its end.
fn send(lab: &Lab, flow: impl Fn(&Node) -> Flow, limits: Limits) {
    let sender = |from: usize, to: usize| Sender {
        namespace: lab.plan().nodes[from].first_pod().unwrap().namespace.clone(),
        flow: flow(&lab.plan().nodes[to]),
        limits,
    };
    for (sender, counts) in Traffic::start(vec![sender(0, 1), sender(1, 0)]).finish().unwrap() {
        assert_eq!((Some(counts.sent), counts.errors), (limits.count, 0), "{sender:?}");
    }
}

/// Datagrams each way; the packet filter beside each hook sees every one of them.
fn send_datagrams(lab: &Lab) {
    let counters = [0, 1].map(|node| {
        let node = &lab.plan().nodes[node];
        Counters::install(lab.plan(), node, Protocol::Udp, SYSLOG_PORT).unwrap()
    });
    let to = |node: &Node| Flow::UdpOneWay { to: at(node, SYSLOG_PORT), size: 120 };
    let joins = joins(lab);
    // A relay joins what waits for it.
    let rate = if joins { 200_000.0 } else { 5_000.0 };
    send(lab, to, Limits::exactly(datagrams(), rate));
    let expected: Packets =
        Stage::ALL.into_iter().map(|stage| (stage.name().to_owned(), datagrams())).collect();
    for counters in &counters {
        poll_until("the last datagrams", ARRIVAL, || {
            let mut read = counters.read()?;
            if joins {
                // The packet filter counts a train of datagrams once. An interpreted sender hardly
                // sends faster than the relay takes.
                let trains = read.insert(WIRE_IN.to_owned(), datagrams()).unwrap_or(0);
                let most = size::of(datagrams() / 2, datagrams());
                anyhow::ensure!(trains < most, "{trains} trains of {}", datagrams());
            }
            anyhow::ensure!(read == expected, "{read:?} instead of {expected:?}");
            Ok(())
        })
        .unwrap();
    }
}

/// A TCP transfer each way, with segmentation offload: the packet filter, which counts a packet
/// of many segments once, sees far fewer packets than there are segments.
fn send_bulk(lab: &Lab) {
    let counters = [0, 1].map(|node| {
        let node = &lab.plan().nodes[node];
        Counters::install(lab.plan(), node, Protocol::Tcp, SINK_PORT).unwrap()
    });
    let to = |node: &Node| Flow::TcpBulk { to: at(node, SINK_PORT), bytes: bulk() };
    send(lab, to, Limits::exactly(1, 1.0));
    let segments = bulk() / u64::from(lab.plan().pod_mtu() - 52);
    for counters in &counters {
        let packets = counters.read().unwrap()["wire_out"];
        // A relay that is interpreted keeps the window, and with it the packets, small.
        let most = size::of(segments / 4, segments);
        assert!((1..most).contains(&packets), "{packets} packets of {segments} segments");
    }
}

/// Whether received packets are trains of datagrams (Linux 6.2).
fn joins(lab: &Lab) -> bool {
    lab.plan().lan.uplink == UplinkKind::Tun && Tun::takes_datagrams_here().unwrap()
}

fn at(node: &Node, port: u16) -> SocketAddr {
    node.first_pod().unwrap().at(Family::V4, port)
}

/// The rows of the datagrams' flows, the one sent and the one received.
fn assert_datagrams_are_exact(seen: &Evidence, own: &Node, peer: &Node) {
    let [own, peer] = [own, peer].map(|node| node.first_pod().unwrap().ip.of(Family::V4));
    let sent = StageCounts {
        pod_out: datagrams(),
        overlay_out: datagrams(),
        wire_out: datagrams(),
        ..StageCounts::default()
    };
    let received = StageCounts {
        wire_in: datagrams(),
        overlay_in: datagrams(),
        pod_in: datagrams(),
        ..StageCounts::default()
    };
    for (from, to, expected) in [(own, peer, sent), (peer, own, received)] {
        let is_row = |flow: &&FlowRow| {
            (flow.source, flow.destination) == (from, to)
                && (flow.protocol, flow.destination_port) == (17, SYSLOG_PORT)
        };
        let rows: Vec<_> = seen.traffic.as_ref().unwrap().flows.iter().filter(is_row).collect();
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!(rows[0].packets, expected, "{from} to {to}");
    }
}

/// All packets are in flows, and none was unreadable.
fn assert_nothing_is_left_over(seen: &Evidence) {
    let traffic = seen.traffic.as_ref().unwrap();
    assert_eq!(traffic.other, StageCounts::default());
    assert_eq!(traffic.parse_errors, []);
    assert_eq!((traffic.own.flow_evictions, traffic.own.map_insert_failures), (0, 0));
    assert_eq!((traffic.stages.leak.packets, traffic.stages.host.packets), (0, 0));
}

/// The four hooks between two overlay devices, and the two of the bridges, in segments.
fn assert_segments_agree(sender: &Evidence, receiver: &Evidence) {
    let [sent, received] =
        [sender, receiver].map(|evidence| &evidence.traffic.as_ref().unwrap().stages);
    let out = [sent.pod_out, sent.overlay_out, sent.wire_out];
    let into = [received.wire_in, received.overlay_in, received.pod_in];
    let packets: Vec<u64> = out.iter().chain(&into).map(|count| count.packets).collect();
    assert!(packets.iter().all(|count| *count == sent.overlay_out.packets), "{packets:?}");
}
