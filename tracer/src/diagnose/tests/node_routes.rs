//! The ways to the nodes of peers: refused, lost, and what looks like it.

use ipnet::IpNet;

use super::{
    super::{
        PeerState, Severity,
        testing::{
            OVERLAY, Pass, Plan, UPLINK, judge, judge_ipv4, refusing, tables, told, twin, via,
        },
    },
    faults::{Fault, assert_told, plans},
    underlay::lose_beyond_overlay,
};
use crate::{
    diagnose::diagnose,
    evidence::{Evidence, RouteKind, RouteOutcome},
};

fn refuse_node(evidence: &mut Evidence, plan: &Plan, kind: RouteKind) {
    tables(evidence).routes.push(refusing(plan.node_ip(plan.hit()).into(), kind));
    lose_beyond_overlay(evidence, plan, std::iter::once(plan.hit()));
}

/// The network of the uplink and the default route are gone: whoever renewed its address forgot them.
fn lose_all_routes(evidence: &mut Evidence, plan: &Plan) {
    let is_other = |hop: Option<u32>| hop != Some(UPLINK);
    tables(evidence).routes.retain(|route| route.next_hops.iter().all(|hop| is_other(hop.ifindex)));
    lose_beyond_overlay(evidence, plan, plan.peers());
}

/// The kernel's answer for the node of the peer.
fn answer_with(evidence: &mut Evidence, plan: &Plan, outcome: RouteOutcome) {
    let node = plan.node_ip(plan.hit());
    let mut answers = tables(evidence).answers.iter_mut();
    answers.find(|answer| answer.destination == node).unwrap().outcome = outcome;
}

const REFUSED: [Fault; 3] = [
    (
        "blackhole",
        |evidence, plan| refuse_node(evidence, plan, RouteKind::Blackhole),
        |plan| format!("peer-node-route-broken {}", plan.hit_cidr()),
    ),
    (
        "unreachable",
        |evidence, plan| refuse_node(evidence, plan, RouteKind::Unreachable),
        |plan| format!("peer-node-route-broken {}", plan.hit_cidr()),
    ),
    (
        "prohibit",
        |evidence, plan| refuse_node(evidence, plan, RouteKind::Prohibit),
        |plan| format!("peer-node-route-broken {}", plan.hit_cidr()),
    ),
];

#[test]
fn a_route_that_refuses_the_node_of_a_peer_is_told() {
    assert_told(&REFUSED, Severity::Critical, &plans());
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    refuse_node(&mut evidence, &plan, RouteKind::Blackhole);
    let diagnosis = judge(&mut evidence);
    let finding = &diagnosis.findings[0];
    let node = plan.node_ip(plan.hit());
    assert_eq!(finding.evidence[2], format!("table main has the blackhole {node}/32"));
    assert_eq!(finding.remedy[1], format!("ip route del blackhole {node}/32"));
    assert_eq!(finding.impact.packets, 40);
    let states: Vec<PeerState> = diagnosis.peers.iter().map(|peer| peer.state).collect();
    assert_eq!(states, [PeerState::Ok, PeerState::Broken]);
}

#[test]
fn a_refusal_that_no_route_makes_is_looked_for_among_the_rules() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    refuse_node(&mut evidence, &plan, RouteKind::Prohibit);
    judge(&mut evidence);
    tables(&mut evidence).routes.retain(|route| route.kind != RouteKind::Prohibit);
    let diagnosis = diagnose(&evidence);
    assert_eq!(told(&diagnosis), [format!("peer-node-route-broken {}", plan.hit_cidr())]);
    let rules = &diagnosis.findings[0].remedy[1];
    assert!(rules.starts_with("ip rule "), "{rules}");
}

#[test]
fn a_wide_refusal_beside_the_uplinks_network_and_one_that_packets_pass_are_healthy() {
    for plan in plans() {
        let node = plan.node_ip(plan.hit());
        let wide = IpNet::new(node, 16).unwrap().trunc();
        let mut evidence = plan.evidence();
        tables(&mut evidence).routes.push(refusing(wide, RouteKind::Unreachable));
        assert_eq!(told(&judge(&mut evidence)), [""; 0], "{plan:?}");
        if evidence.traffic.is_some() {
            tables(&mut evidence).routes.push(refusing(node.into(), RouteKind::Unreachable));
            assert_eq!(told(&judge(&mut evidence)), [""; 0], "{plan:?}");
        }
    }
}

#[test]
fn a_default_route_that_led_to_peers_too_is_critical_and_told_once() {
    for plan in plans() {
        let mut evidence = plan.evidence();
        lose_all_routes(&mut evidence, &plan);
        let diagnosis = judge_ipv4(&mut evidence);
        assert_eq!(told(&diagnosis), ["default-route-missing eth0"], "{plan:?}");
        assert_eq!(diagnosis.findings[0].severity, Severity::Critical);
        assert!(diagnosis.peers.iter().all(|peer| peer.state == PeerState::Broken));
        let twin = diagnose(&twin(&evidence).unwrap());
        assert_eq!(told(&twin), ["default-route-missing eth0"], "{plan:?}");
    }
}

#[test]
fn a_way_that_leads_into_the_tunnel_itself_is_told() {
    for plan in plans() {
        let (node, own) = (
            plan.node_ip(plan.hit()),
            format!("ip route del {}/32 dev flannel.1", plan.node_ip(plan.hit())),
        );
        let overlap = "(the nodes' network and the pod network ";
        for (destination, remedy) in [(IpNet::from(node), own.as_str()), (plan.hit_cidr(), overlap)]
        {
            let mut evidence = plan.evidence();
            lose_beyond_overlay(&mut evidence, &plan, std::iter::once(plan.hit()));
            let route = via(destination, None, OVERLAY);
            judge_ipv4(&mut evidence);
            answer_with(&mut evidence, &plan, RouteOutcome::Route(route));
            let diagnosis = diagnose(&evidence);
            let expected = format!("peer-node-route-broken {}", plan.hit_cidr());
            assert_eq!(told(&diagnosis), [expected], "{plan:?}");
            let finding = &diagnosis.findings[0];
            assert!(finding.title.ends_with("leads into flannel.1 itself"), "{}", finding.title);
            assert!(finding.remedy[1].starts_with(remedy), "{:?}", finding.remedy);
        }
    }
}

#[test]
fn a_lost_route_to_one_node_is_told_of_that_peer() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    lose_beyond_overlay(&mut evidence, &plan, std::iter::once(plan.hit()));
    let unexplained = format!("unexplained-loss {}", plan.hit_cidr());
    assert_eq!(told(&judge(&mut evidence)), [unexplained]);
    answer_with(&mut evidence, &plan, RouteOutcome::Refused(101));
    let diagnosis = diagnose(&evidence);
    assert_eq!(told(&diagnosis), [format!("peer-node-route-broken {}", plan.hit_cidr())]);
    let (node, remedy) = (plan.node_ip(plan.hit()), &diagnosis.findings[0].remedy[1]);
    assert!(remedy.starts_with(&format!("ip route add {node}/32 via ROUTER ")), "{remedy}");
}
