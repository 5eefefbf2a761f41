//! Faults of routes: they lead elsewhere, or something is asked before them.

use super::{
    super::{
        PeerState, Severity,
        testing::{BRIDGE, OVERLAY, PASSES, Pass, Plan, judge, peer_traffic, tables, told, via},
    },
    faults::{Fault, assert_told, plans},
    injections::{lose_route, make_one_way},
};
use crate::evidence::Evidence;

/// The route to the peer leads to the bridge, where nobody answers.
fn route_by_bridge(evidence: &mut Evidence, plan: &Plan) {
    lose_route(evidence, plan);
    tables(evidence).routes.push(via(plan.hit_cidr(), None, BRIDGE));
    if let Some(traffic) = peer_traffic(evidence, plan.hit_cidr()) {
        (traffic.leaked, traffic.leaked_early) = (0, 0);
        (traffic.lost.pod_to_overlay, traffic.lost_early.pod_to_overlay) = (40, 20);
    }
}

/// The route to the peer leads to the first of the others.
fn route_by_another_peer(evidence: &mut Evidence, plan: &Plan) {
    let other = plan.cidr(plan.peers().next().unwrap()).network();
    let tables = tables(evidence);
    tables.routes.retain(|route| route.destination != plan.hit_cidr());
    tables.routes.push(via(plan.hit_cidr(), Some(other), OVERLAY));
}

const WRONG_DEVICE: [Fault; 1] = [("route by the bridge", route_by_bridge, |plan| {
    format!("pod-route-wrong-device {}", plan.hit_cidr())
})];
const WRONG_VTEP: [Fault; 1] = [("route by another peer", route_by_another_peer, |plan| {
    format!("pod-route-wrong-device {}", plan.hit_cidr())
})];

/// Plans in which faults that need a third node are tried.
fn plans_of_three() -> Vec<Plan> {
    plans().into_iter().filter(|plan| plan.nodes > 2).collect()
}

#[test]
fn a_route_to_the_bridge_is_critical_and_a_detour_is_a_warning() {
    assert_told(&WRONG_DEVICE, Severity::Critical, &plans());
    assert_told(&WRONG_VTEP, Severity::Warning, &plans_of_three());
}

#[test]
fn a_detour_names_the_peer_and_not_the_node_on_the_way() {
    for plan in plans_of_three() {
        let mut evidence = plan.evidence();
        route_by_another_peer(&mut evidence, &plan);
        let diagnosis = judge(&mut evidence);
        let finding = &diagnosis.findings[0];
        assert_eq!(finding.subject.peer, Some(plan.node_ip(plan.hit())));
        let (cidr, other) = (plan.hit_cidr(), plan.cidr(plan.peers().next().unwrap()));
        let (gateway, right) = (other.network(), cidr.network());
        assert_eq!(finding.remedy[0], format!("ip route del {cidr} via {gateway} dev flannel.1"));
        assert!(finding.title.contains(&other.to_string()), "{}", finding.title);
        assert!(finding.evidence[1].ends_with(&format!("that of {cidr} is {right}")));
        let broken = diagnosis.peers.iter().any(|peer| peer.state == PeerState::Broken);
        assert!(!broken, "{:?}", diagnosis.peers);
    }
}

#[test]
fn a_detour_from_which_nothing_comes_back_is_critical() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    route_by_another_peer(&mut evidence, &plan);
    make_one_way(&mut evidence, &plan);
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), [format!("pod-route-wrong-device {}", plan.hit_cidr())]);
    assert_eq!(diagnosis.findings[0].severity, Severity::Critical);
    assert_eq!(diagnosis.findings[0].breaks, [format!("answers from {}", plan.hit_cidr())]);
}

#[test]
fn a_narrower_route_to_the_bridge_over_the_right_one_is_told_too() {
    for pass in PASSES {
        let plan = Plan::of(3, pass);
        let mut evidence = plan.evidence();
        let half = plan.hit_cidr().subnets(25).unwrap().next().unwrap();
        tables(&mut evidence).routes.push(via(half, None, BRIDGE));
        let diagnosis = judge(&mut evidence);
        assert_eq!(told(&diagnosis), [format!("pod-route-wrong-device {}", plan.hit_cidr())]);
        let remedy = &diagnosis.findings[0].remedy[0];
        assert_eq!(remedy, &format!("ip route del {half} dev cni0"));
    }
}

#[test]
fn other_networks_of_the_bridge_are_no_fault() {
    for pass in PASSES {
        let plan = Plan { seconds: 0.0, ..Plan::of(3, pass) };
        let mut evidence = plan.evidence();
        let second = "10.244.99.0/24".parse().unwrap();
        tables(&mut evidence).routes.push(via(second, None, BRIDGE));
        let wide = "10.244.0.0/16".parse().unwrap();
        tables(&mut evidence).routes.push(via(wide, None, BRIDGE));
        assert_eq!(told(&judge(&mut evidence)), [""; 0]);
    }
}
