//! Faults of routes: they lead elsewhere, or something is asked before them.

use ipnet::IpNet;

use super::{
    super::{
        PeerState, Severity, diagnose,
        testing::{
            BRIDGE, LO, OVERLAY, PASSES, Pass, Plan, UPLINK, judge, judge_ipv4, link, peer_traffic,
            rule, tables, told, via,
        },
    },
    faults::{Fault, assert_told, plans},
    injections::{
        delete_overlay, down_overlay, lose_fdb, lose_route, lose_route_and_default, make_one_way,
    },
};
use crate::evidence::{Evidence, Route, Rule};

/// The route to the peer leads to the bridge, where nobody answers.
fn route_by_bridge(evidence: &mut Evidence, plan: &Plan) {
    lose_route(evidence, plan);
    tables(evidence).routes.push(via(plan.hit_cidr(), None, BRIDGE));
    if let Some(traffic) = peer_traffic(evidence, plan.hit_cidr()) {
        (traffic.leaked, traffic.leaked_early) = (0, 0);
        (traffic.lost.pod_to_overlay, traffic.lost_early.pod_to_overlay) = (40, 20);
    }
}

/// The route to the peer leads to the node itself, which has no such address.
fn route_by_loopback(evidence: &mut Evidence, plan: &Plan) {
    route_by_bridge(evidence, plan);
    let routes = tables(evidence).routes.iter_mut().filter(|it| it.destination == plan.hit_cidr());
    routes.flat_map(|it| &mut it.next_hops).for_each(|hop| hop.ifindex = Some(LO));
}

/// The route to the peer leads to the first of the others.
fn route_by_another_peer(evidence: &mut Evidence, plan: &Plan) {
    let other = plan.cidr(plan.peers().next().unwrap()).network();
    let tables = tables(evidence);
    tables.routes.retain(|route| route.destination != plan.hit_cidr());
    tables.routes.push(via(plan.hit_cidr(), Some(other), OVERLAY));
}

const WRONG_DEVICE: [Fault; 2] = [
    ("route by the bridge", route_by_bridge, |plan| {
        format!("pod-route-wrong-device {}", plan.hit_cidr())
    }),
    ("route by lo", route_by_loopback, |plan| {
        format!("pod-route-wrong-device {}", plan.hit_cidr())
    }),
];
const WRONG_VTEP: [Fault; 1] = [("route by another peer", route_by_another_peer, |plan| {
    format!("pod-route-wrong-device {}", plan.hit_cidr())
})];

/// A VPN's routes come before table main, and one of them covers the pod network.
fn hijack(evidence: &mut Evidence, plan: &Plan) {
    let wide = IpNet::new(plan.hit_cidr().addr(), 16).unwrap().trunc();
    let tables = tables(evidence);
    tables.routes.push(Route { table: 52, ..via(wide, Some(plan.gateway()), UPLINK) });
    tables.rules.push(rule(5270, 52));
    for peer in evidence.traffic.iter_mut().flat_map(|traffic| &mut traffic.peers) {
        (peer.leaked, peer.leaked_early) = (40, 20);
        (peer.lost.pod_to_overlay, peer.lost_early.pod_to_overlay) = (40, 20);
        (peer.packets.overlay_out, peer.packets.wire_out, peer.asking_out) = (0, 0, 0);
    }
}

const HIJACK: [Fault; 1] =
    [("hijacked", hijack, |plan| format!("policy-rule-hijacks-pod-route n{}", plan.own))];

fn lose_default(evidence: &mut Evidence, _: &Plan) {
    tables(evidence).routes.retain(|route| route.destination.prefix_len() != 0);
}

const NO_DEFAULT: [Fault; 1] =
    [("default route", lose_default, |_| "default-route-missing eth0".to_owned())];

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
fn a_route_back_to_the_node_itself_names_the_device_and_what_repairs_it() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    route_by_loopback(&mut evidence, &plan);
    let finding = judge(&mut evidence).findings.remove(0);
    assert!(finding.title.ends_with(" leads to lo, this node itself"), "{}", finding.title);
    assert_eq!(finding.remedy[0], format!("ip route del {} dev lo", plan.hit_cidr()));
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
        // Services of this node, and what it serves under an address of any network.
        tables(&mut evidence).routes.push(via("10.96.0.0/16".parse().unwrap(), None, LO));
        tables(&mut evidence).routes.push(via("10.244.98.0/24".parse().unwrap(), None, LO));
        tables(&mut evidence).routes.push(via("10.0.0.0/8".parse().unwrap(), None, LO));
        assert_eq!(told(&judge(&mut evidence)), [""; 0]);
    }
}

#[test]
fn a_policy_rule_that_hijacks_all_peers_is_one_finding() {
    assert_told(&HIJACK, Severity::Critical, &plans());
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    hijack(&mut evidence, &plan);
    let diagnosis = judge(&mut evidence);
    let finding = &diagnosis.findings[0];
    assert_eq!(finding.title, "Policy rule 5270 sends packets for 2 peers to table 52 before main");
    assert_eq!(finding.evidence[2], "`ip rule` has 5270: from all lookup 52");
    assert_eq!(finding.remedy[0], "ip route del 10.244.0.0/16 table 52");
    assert!(finding.remedy[1].starts_with("ip rule add pref 5269 to 10.244.0.0/16 lookup main"));
    assert_eq!((finding.impact.packets, finding.subject.interface.as_deref()), (80, Some("eth0")));
    assert!(diagnosis.peers.iter().all(|peer| peer.state == PeerState::Broken));
}

#[test]
fn a_rule_that_hijacks_one_peer_names_it() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    let tables = tables(&mut evidence);
    tables.links.push(link(30, "tailscale0", Some("tun")));
    tables.routes.push(Route { table: 52, ..via(plan.hit_cidr(), None, 30) });
    tables.rules.push(rule(5270, 52));
    tables.rules.push(Rule { source: "192.0.2.0/24".parse().ok(), ..rule(100, 52) });
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), ["policy-rule-hijacks-pod-route n1"]);
    let finding = &diagnosis.findings[0];
    assert_eq!(finding.subject.cidr, Some(plan.hit_cidr()));
    assert!(finding.title.starts_with("Policy rule 5270 sends packets for 10.244.2.0/24 ("));
    assert_eq!(finding.remedy[0], "tailscale set --accept-routes=false");
    let states: Vec<PeerState> = diagnosis.peers.iter().map(|peer| peer.state).collect();
    assert_eq!(states, [PeerState::Ok, PeerState::Broken]);
}

#[test]
fn rules_whose_tables_hold_other_networks_or_the_same_ways_are_healthy() {
    for pass in PASSES {
        let plan = Plan::of(3, pass);
        let mut evidence = plan.evidence();
        let own = tables(&mut evidence);
        own.rules.extend([rule(5270, 52), rule(100, 100), rule(33000, 101)]);
        let host = "100.101.102.103/32".parse().unwrap();
        own.routes.push(Route { table: 52, ..via(host, None, UPLINK) });
        let everything = via("0.0.0.0/0".parse().unwrap(), Some(plan.gateway()), UPLINK);
        own.routes.push(Route { table: 101, ..everything });
        let copies: Vec<Route> = own.routes.iter().filter(|it| it.table == 254).cloned().collect();
        own.routes.extend(copies.into_iter().map(|route| Route { table: 100, ..route }));
        assert_eq!(told(&judge(&mut evidence)), [""; 0]);
    }
}

#[test]
fn a_missing_route_before_which_a_rule_comes_is_a_missing_route() {
    let plan = Plan::of(2, Pass::PeersFile);
    let mut evidence = plan.evidence();
    lose_route(&mut evidence, &plan);
    hijack(&mut evidence, &plan);
    assert_eq!(told(&judge(&mut evidence)), [format!("pod-route-missing {}", plan.hit_cidr())]);
}

#[test]
fn a_missing_default_route_is_a_warning_that_breaks_no_peer() {
    assert_told(&NO_DEFAULT, Severity::Warning, &plans());
    let plan = Plan { nodes: 1, own: 0, ..Plan::of(2, Pass::Tables) };
    let mut evidence = plan.evidence();
    lose_default(&mut evidence, &plan);
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), ["default-route-missing eth0"]);
    let remedy = &diagnosis.findings[0].remedy[0];
    assert!(remedy.starts_with("ip route add default via ROUTER dev eth0"), "{remedy}");
    assert!(remedy.ends_with("(ROUTER: the gateway of 192.168.77.0/24)"), "{remedy}");
}

#[test]
fn a_default_route_elsewhere_or_in_halves_is_healthy() {
    for (table, halves) in [(100, ["0.0.0.0/0", "0.0.0.0/0"]), (254, ["0.0.0.0/1", "128.0.0.0/1"])]
    {
        let plan = Plan::of(3, Pass::SubnetEnv);
        let mut evidence = plan.evidence();
        lose_default(&mut evidence, &plan);
        let tables = tables(&mut evidence);
        tables.rules.push(rule(33000, 100));
        let half = |half: &str| via(half.parse().unwrap(), Some(plan.gateway()), UPLINK);
        tables.routes.extend(halves.map(|it| Route { table, ..half(it) }));
        assert_eq!(told(&judge_ipv4(&mut evidence)), [""; 0]);
    }
}

#[test]
fn evidence_that_was_saved_without_the_question_proves_no_missing_default_route() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    lose_default(&mut evidence, &plan);
    judge(&mut evidence);
    let outside = ["192.0.2.1", "203.0.113.1"].map(|it| it.parse::<std::net::IpAddr>().unwrap());
    tables(&mut evidence).answers.retain(|answer| !outside.contains(&answer.destination));
    assert_eq!(told(&diagnose(&evidence)), [""; 0]);
}

#[test]
fn an_uplink_that_is_down_or_gone_took_the_default_route_with_it() {
    for gone in [false, true] {
        let plan = Plan { seconds: 0.0, ..Plan::of(3, Pass::SubnetEnv) };
        let mut evidence = plan.evidence();
        lose_default(&mut evidence, &plan);
        if gone {
            delete_overlay(&mut evidence, &plan);
            tables(&mut evidence).links.retain(|link| link.index != UPLINK);
        } else {
            let mut links = tables(&mut evidence).links.iter_mut();
            links.find(|link| link.index == UPLINK).unwrap().lower_up = false;
        }
        let found = told(&judge(&mut evidence));
        assert!(!found.iter().any(|it| it.starts_with("default-route-missing")), "{found:?}");
    }
}

#[test]
fn a_default_route_lost_with_a_pods_route_is_told_with_that_and_else_apart() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    lose_route_and_default(&mut evidence, &plan);
    let finding = judge(&mut evidence).findings.remove(0);
    assert_eq!(finding.breaks, ["addresses outside the cluster"]);
    assert!(finding.remedy.iter().any(|line| line.contains("default route is missing too")));
    for other in [lose_fdb, down_overlay] {
        let mut evidence = plan.evidence();
        lose_default(&mut evidence, &plan);
        other(&mut evidence, &plan);
        let found = judge(&mut evidence);
        assert_eq!(found.findings.len(), 2, "{:?}", told(&found));
        assert_eq!(found.findings[1].code, "default-route-missing");
    }
}
