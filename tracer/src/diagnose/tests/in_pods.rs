//! `pod-policy-drops`: what a packet filter inside a pod of this node drops, and what resembles it.

use super::super::{
    Severity,
    testing::{PASSES, Pass, Plan, dropped, finds_nothing, flow_of, judge, told},
};
use crate::{
    evidence::{Drop, DropFlow, DropPlace, Drops, Evidence, StageCounts},
    topology::nth_address,
};

/// IANA's protocol number.
const TCP: u8 = 6;

/// Connections of a peer's pod to a port of a pod here.
fn flow(plan: &Plan, protocol: u8) -> DropFlow {
    DropFlow {
        source: nth_address(plan.hit_cidr(), 5),
        destination: nth_address(plan.own_cidr(), 9),
        protocol,
        source_port: 40_100,
        destination_port: 8080,
    }
}

fn in_pod(flow: DropFlow) -> Drop {
    Drop { place: DropPlace::Pod, interface: None, flow: Some(flow), ..dropped() }
}

/// The flow is listed; with answers where the pod gave any.
fn list(evidence: &mut Evidence, dropped: DropFlow, is_answered: bool) {
    let came = StageCounts { wire_in: 10, overlay_in: 10, pod_in: 10, ..StageCounts::default() };
    let left = StageCounts { pod_out: 10, overlay_out: 10, wire_out: 10, ..StageCounts::default() };
    let flows = &mut evidence.traffic.as_mut().unwrap().flows;
    flows.push(flow_of(dropped, came));
    if is_answered {
        let answers = DropFlow {
            source: dropped.destination,
            destination: dropped.source,
            source_port: dropped.destination_port,
            destination_port: dropped.source_port,
            ..dropped
        };
        flows.push(flow_of(answers, left));
    }
}

fn drop_in_pod(evidence: &mut Evidence, drop: Drop) {
    drop_all_in_pod(evidence, vec![drop]);
}

fn drop_all_in_pod(evidence: &mut Evidence, entries: Vec<Drop>) {
    evidence.drops = Some(Drops { entries, headers_read: true, ..Drops::default() });
}

/// Ten packets: of TCP several connections that are tried, one of them late.
fn attempts(drop: &Drop) -> Vec<Drop> {
    let flow = drop.flow.unwrap();
    if flow.protocol != TCP {
        return vec![drop.clone()];
    }
    let nth = |(nth, (packets, early))| {
        let flow = Some(DropFlow { source_port: flow.source_port + nth, ..flow });
        Drop { flow, packets, early, ..drop.clone() }
    };
    (0..).zip([(4, 2), (4, 2), (2, 0)]).map(nth).collect()
}

#[test]
fn a_pod_whose_own_filter_drops_is_told_by_its_address() {
    for pass in PASSES {
        for (protocol, reason, symbol) in [
            (6, Some("NETFILTER_DROP"), "nft_do_chain"),
            (17, Some("NETFILTER_DROP"), "nf_hook_slow"),
            (1, None, "nf_hook_slow"),
        ] {
            let plan = Plan::of(3, pass);
            let mut evidence = plan.evidence();
            let flow = flow(&plan, protocol);
            let (reason, symbol) = (reason.map(str::to_owned), Some(symbol.to_owned()));
            // Of ICMP a flow and a drop name different things as ports.
            let named = DropFlow { source_port: 8, destination_port: 3, ..flow };
            let of_drop = if protocol == 1 { named } else { flow };
            let drops = attempts(&Drop { reason, symbol, ..in_pod(of_drop) });
            for drop in drops.iter().filter_map(|drop| drop.flow) {
                let of_flow = if protocol == 1 { flow } else { drop };
                list(&mut evidence, of_flow, false);
            }
            let number = drops.len();
            drop_all_in_pod(&mut evidence, drops);
            let diagnosis = judge(&mut evidence);
            assert_eq!(told(&diagnosis), [format!("pod-policy-drops {}", flow.destination)]);
            let finding = &diagnosis.findings[0];
            assert_eq!((finding.severity, finding.impact.packets), (Severity::Warning, 10));
            assert_eq!(finding.subject.address, Some(flow.destination));
            assert_eq!(diagnosis.drop_causes, vec!["pod-policy-drops"; number]);
            assert!(finding.evidence.iter().any(|line| line.contains("pod_in")));
        }
    }
}

#[test]
fn where_the_stages_were_not_observed_the_drop_alone_tells() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    evidence.traffic = None;
    drop_all_in_pod(&mut evidence, attempts(&in_pod(flow(&plan, TCP))));
    let expected = format!("pod-policy-drops {}", nth_address(plan.own_cidr(), 9));
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), [expected]);
    // Nobody saw what came to the pod and what it answered.
    let lines = &diagnosis.findings[0].evidence;
    assert!(!lines.iter().any(|line| line.contains("answered")), "{lines:?}");
}

#[test]
fn what_a_pod_answers_or_drops_seldom_is_healthy() {
    let plan = Plan::of(3, Pass::Tables);
    let flow = flow(&plan, TCP);
    // The late end of a connection, which conntrack calls invalid; its answers may have been before.
    for is_answered in [true, false] {
        finds_nothing(|evidence| {
            list(evidence, flow, is_answered);
            drop_in_pod(evidence, in_pod(flow));
        });
    }
    let flow = DropFlow { protocol: 17, ..flow };
    finds_nothing(|evidence| {
        list(evidence, flow, true);
        drop_in_pod(evidence, in_pod(flow));
    });
    for (packets, early) in [(2, 1), (10, 0), (10, 10)] {
        finds_nothing(|evidence| {
            list(evidence, flow, false);
            drop_in_pod(evidence, Drop { packets, early, ..in_pod(flow) });
        });
    }
}

#[test]
fn what_came_by_no_tunnel_or_was_dropped_by_something_else_is_not_told() {
    let plan = Plan::of(3, Pass::Tables);
    let flow = flow(&plan, 17);
    let neighbour = DropFlow { source: nth_address(plan.own_cidr(), 12), ..flow };
    let probe = DropFlow { source: nth_address(plan.own_cidr(), 1), ..flow };
    let sent = DropFlow { source: flow.destination, destination: flow.source, ..flow };
    // The flow of what is dropped was never seen at the pod's bridge.
    for other in [flow, neighbour, probe, sent] {
        finds_nothing(|evidence| drop_in_pod(evidence, in_pod(other)));
    }
    for reason in ["NO_SOCKET", "SOCKET_RCVBUFF"] {
        finds_nothing(|evidence| {
            list(evidence, flow, false);
            let reason = Some(reason.to_owned());
            drop_in_pod(evidence, Drop { reason, ..in_pod(flow) });
        });
    }
}
