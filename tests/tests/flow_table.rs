//! More flows than the table holds: totals stay exact, and what the flows miss is accounted for.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use tracer::evidence::{Evidence, Stage, Traffic as Seen};
use tracer_tests::{
    counters::{Counters, Packets, Protocol},
    lab::{LOCK_WAIT, Lab},
    matrix::Attach,
    plan::{Plan, SYSLOG_PORT},
    poll::poll_until,
    seed::Shape,
    tracer::Intent,
    traffic::{Flow, Limits, Sender, Traffic},
};

/// Entries of the tracer's table of flows.
const TABLE: u64 = 65_536;
/// Flows that are sent, half of them by each of two pods.
const FLOWS: u64 = TABLE + 30_464;
/// Above what a pod listens on.
const FIRST_PORT: u16 = 8_000;
const OUT: [Stage; 3] = [Stage::PodOut, Stage::OverlayOut, Stage::WireOut];
const IN: [Stage; 3] = [Stage::WireIn, Stage::OverlayIn, Stage::PodIn];

#[test]
fn totals_stay_exact_when_flows_are_evicted() {
    let shape = Shape { nodes: Some(2), ..Shape::default() };
    let lab = Lab::up(Plan::draw(103, &shape), LOCK_WAIT).unwrap();
    let best = Attach::on_this_kernel().first().unwrap();
    let watches =
        [0, 1].map(|node| lab.watch(node, Intent::SubnetEnv, &["--attach", best.name()]).unwrap());
    send_flows(&lab);
    for (watch, stages) in watches.into_iter().zip([OUT, IN]) {
        let watched = watch.end().unwrap();
        assert_eq!(watched.check.findings(), []);
        let evidence: Evidence = serde_json::from_value(watched.evidence).unwrap();
        let traffic = evidence.traffic.unwrap();
        assert_accounted_for(&traffic, &stages);
        let own = &watched.check.json["self"];
        assert_eq!(own["flow_evictions"], traffic.own.flow_evictions);
        assert_eq!(own["map_insert_failures"], 0);
        println!("{FLOWS} flows, {} evicted, at {stages:?}", traffic.own.flow_evictions);
    }
}

/// One datagram a flow from two pods of the first node to one of the second. Returns when the packet
/// filter has counted all of them at every hook of both nodes.
fn send_flows(lab: &Lab) {
    let [from, to] = [&lab.plan().nodes[0], &lab.plan().nodes[1]];
    let counters = [from, to]
        .map(|node| Counters::install(lab.plan(), node, Protocol::Udp, SYSLOG_PORT).unwrap());
    let to = to.first_pod().unwrap().at(lab.plan().site.family, SYSLOG_PORT);
    let senders = from.pods[..2].iter().map(|pod| Sender {
        namespace: pod.namespace.clone(),
        flow: Flow::UdpManyFlows { to, first_port: FIRST_PORT },
        limits: Limits::exactly(FLOWS / 2, 20_000.0),
    });
    for (sender, counts) in Traffic::start(senders.collect()).finish().unwrap() {
        assert_eq!((counts.sent, counts.errors), (FLOWS / 2, 0), "{sender:?}");
    }
    for (counters, stages) in counters.iter().zip([OUT, IN]) {
        let expected: Packets = Stage::ALL
            .into_iter()
            .map(|it| (it.name().to_owned(), if stages.contains(&it) { FLOWS } else { 0 }))
            .collect();
        poll_until("the last datagrams", Duration::from_secs(5), || {
            let read = counters.read()?;
            anyhow::ensure!(read == expected, "{read:?} instead of {expected:?}");
            Ok(())
        })
        .unwrap();
    }
}

fn assert_accounted_for(traffic: &Seen, stages: &[Stage]) {
    // Every flow had one packet, so a flow that is still there is one packet of each stage.
    let present = traffic.flows.len() as u64 + traffic.flows_left_out;
    assert!((TABLE / 2..=TABLE).contains(&present), "{present} flows are in the table");
    assert!(traffic.flows.iter().all(|flow| stages.iter().all(|it| flow.packets.at(*it) == 1)));
    for stage in Stage::ALL {
        let (total, other) = (traffic.stages.at(stage).packets, traffic.other.at(stage));
        if stages.contains(&stage) {
            assert_eq!((total, other + present), (FLOWS, FLOWS), "{}", stage.name());
        } else {
            assert_eq!((total, other), (0, 0), "{}", stage.name());
        }
    }
    // Every flow was inserted once, none was deleted.
    assert_eq!(traffic.own.flow_evictions, FLOWS - present);
    assert_eq!(traffic.own.map_insert_failures, 0);
}
