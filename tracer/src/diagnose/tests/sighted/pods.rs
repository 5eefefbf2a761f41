//! What pods say themselves: closed ports.

use super::{
    super::super::{
        Severity,
        testing::{Pass, peer_traffic},
    },
    *,
};
use crate::evidence::Flow;

fn reset(plan: &Plan, port: u16) -> Sight {
    Sight::Reset { source: pod(plan), port, destination: nth_address(plan.own_cidr(), 9) }
}

/// Packets from a port of the peer's pod, as the flow table has them.
fn answer(plan: &Plan, port: u16, packets: u64) -> Flow {
    Flow {
        source: pod(plan),
        destination: nth_address(plan.own_cidr(), 9),
        protocol: 6,
        source_port: port,
        destination_port: 40_002,
        packets: StageCounts {
            wire_in: packets,
            overlay_in: packets,
            pod_in: packets,
            ..StageCounts::default()
        },
        leaked: 0,
        born_in_window: true,
        outer_source: Some(plan.node_ip(plan.hit())),
        translated_destination: None,
        translated_port: None,
        asked_as: None,
    }
}

fn list(evidence: &mut Evidence, flow: Flow) {
    evidence.traffic.as_mut().unwrap().flows.push(flow);
}

#[test]
fn a_pod_that_refuses_at_closed_ports_is_told_once() {
    for plan in plans(&[2, 3]) {
        let mut evidence = plan.evidence();
        see(&mut evidence, "flannel.1", reset(&plan, 7999), 20);
        list(&mut evidence, answer(&plan, 7999, 20));
        let quoted = inner(&plan, pod(&plan), 17, 7998);
        see(&mut evidence, "flannel.1", error(pod(&plan), (3, 3), quoted), 5);
        let expected = format!("pod-port-closed {}", pod(&plan));
        let diagnosis = assert_one(&mut evidence, &expected, Severity::Info);
        let finding = &diagnosis.findings[0];
        assert!(finding.title.ends_with("TCP 7999, UDP 7998"), "{}", finding.title);
        assert_eq!(finding.subject.cidr, Some(plan.hit_cidr()));
        assert_eq!(finding.subject.address, Some(pod(&plan)));
    }
}

#[test]
fn a_pod_of_this_node_that_refuses() {
    for plan in plans(&[2, 3]) {
        let mut evidence = plan.evidence();
        let source = nth_address(plan.own_cidr(), 7);
        let destination = pod(&plan);
        see(&mut evidence, "cni0", Sight::Reset { source, port: 8080, destination }, 20);
        let expected = format!("pod-port-closed {source}");
        let diagnosis = assert_one(&mut evidence, &expected, Severity::Info);
        assert_eq!(diagnosis.findings[0].subject.cidr, Some(plan.own_cidr()));
    }
}

#[test]
fn resets_that_are_no_closed_port() {
    assert_healthy(3, |evidence, plan| {
        // A server that answers most of its clients.
        see(evidence, "flannel.1", reset(plan, 8443), 20);
        list(evidence, answer(plan, 8443, 200));
        // Clients that give up.
        see(evidence, "flannel.1", reset(plan, 45_000), 20);
        let late = inner(plan, pod(plan), 17, 45_001);
        see(evidence, "flannel.1", error(pod(plan), (3, 3), late), 20);
        // A scan: each port once or twice.
        for port in 7000..7500 {
            see_early(evidence, "flannel.1", reset(plan, port), 2, 1);
        }
        // Hosts that are no pods: outside, the peer itself, this node.
        let destination = nth_address(plan.own_cidr(), 9);
        for source in [
            OUTSIDE.parse().unwrap(),
            plan.hit_cidr().network(),
            nth_address(plan.hit_cidr(), 1),
            nth_address(plan.own_cidr(), 1),
        ] {
            let reset = Sight::Reset { source, port: 80, destination };
            see(evidence, "flannel.1", reset, 20);
        }
    });
}

#[test]
fn a_closed_port_hides_no_fault_beside_it() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    see(&mut evidence, "flannel.1", reset(&plan, 7999), 20);
    let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
    (traffic.lost.wire_to_peer, traffic.lost_early.wire_to_peer) = (10, 5);
    let expected = [
        format!("unexplained-loss {}", plan.hit_cidr()),
        format!("pod-port-closed {}", pod(&plan)),
    ];
    assert_eq!(told(&judge(&mut evidence)), expected);
}
