//! The ways to the nodes of peers: refused, lost, and what looks like it.

use ipnet::IpNet;

use super::{
    super::{
        PeerState, Severity,
        testing::{
            OVERLAY, Pass, Plan, UPLINK, judge, judge_ipv4, link, neighbour, peer_traffic,
            refusing, rule, tables, told, uplink_mac, via,
        },
    },
    faults::{Fault, assert_told, plans},
    underlay::lose_beyond_overlay,
};
use crate::{
    diagnose::diagnose,
    evidence::{Evidence, Neighbour, NeighbourState, RouteKind, RouteOutcome, Rule},
};

/// The number of a container runtime's bridge.
const DOCKER: u32 = 41;

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
    let assert_rule = |evidence: &Evidence| {
        let diagnosis = diagnose(evidence);
        assert_eq!(told(&diagnosis), [format!("peer-node-route-broken {}", plan.hit_cidr())]);
        let rules = &diagnosis.findings[0].remedy[1];
        assert!(rules.starts_with("ip rule "), "{rules}");
    };
    assert_rule(&evidence);
    // A rule `unreachable` answers as if there were no route.
    answer_with(&mut evidence, &plan, RouteOutcome::Refused(101));
    let destination = Some(plan.node_ip(plan.hit()).into());
    tables(&mut evidence).rules.push(Rule { looks_up: false, destination, ..rule(100, 0) });
    assert_rule(&evidence);
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

/// And the default route, of which nothing tells what else led by it.
#[test]
fn nodes_to_which_no_route_is_left_are_told_each() {
    for plan in plans() {
        let mut evidence = plan.evidence();
        lose_all_routes(&mut evidence, &plan);
        let diagnosis = judge_ipv4(&mut evidence);
        let broken = plan.peers().map(|node| format!("peer-node-route-broken {}", plan.cidr(node)));
        let expected: Vec<String> =
            broken.chain(["default-route-missing eth0".to_owned()]).collect();
        assert_eq!(told(&diagnosis), expected, "{plan:?}");
        let (own, remedy) = (plan.node_ip(plan.own), &diagnosis.findings[0].remedy[1]);
        let network = IpNet::new(own, 24).unwrap().trunc();
        assert_eq!(*remedy, format!("ip route add {network} dev eth0 src {own}"));
    }
}

/// It is there on purpose; the narrower route is what is missing.
#[test]
fn a_wide_refusal_that_is_met_is_not_advised_away() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    lose_all_routes(&mut evidence, &plan);
    let wide = IpNet::new(plan.node_ip(plan.own), 16).unwrap().trunc();
    tables(&mut evidence).routes.push(refusing(wide, RouteKind::Unreachable));
    let diagnosis = judge_ipv4(&mut evidence);
    let finding = &diagnosis.findings[0];
    assert_eq!(finding.evidence[2], format!("table main has the unreachable {wide}"));
    assert!(finding.remedy[1].starts_with("ip route add 192.168.77.0/24 dev eth0 "), "{finding:?}");
}

#[test]
fn a_vrf_has_tables_that_were_not_asked() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    refuse_node(&mut evidence, &plan, RouteKind::Blackhole);
    judge_ipv4(&mut evidence);
    tables(&mut evidence).links.push(link(40, "vrf-blue", Some("vrf")));
    assert_eq!(told(&diagnose(&evidence)), [format!("unexplained-loss {}", plan.hit_cidr())]);
}

#[test]
fn a_reverse_path_filter_that_drops_what_comes_for_want_of_a_way_back_is_no_second_cause() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    refuse_node(&mut evidence, &plan, RouteKind::Blackhole);
    let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
    (traffic.packets.wire_in, traffic.early.wire_in) = (40, 20);
    (traffic.lost.wire_to_overlay, traffic.lost_early.wire_to_overlay) = (40, 20);
    let expected = format!("peer-node-route-broken {}", plan.hit_cidr());
    assert_eq!(told(&judge(&mut evidence)), [expected]);
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
            assert!(finding.title.ends_with(" leads into flannel.1 itself"), "{}", finding.title);
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
    let remedy = &diagnosis.findings[0].remedy[1];
    assert!(remedy.starts_with("ip route add 192.168.77.0/24 dev eth0 src "), "{remedy}");
}

/// A container runtime's bridge has a network to which the addresses of nodes belong, and asks for them
/// in vain. What the uplink still has of them is not asked any more.
fn cover(evidence: &mut Evidence, plan: &Plan, length: u8, nodes: &[u8]) {
    lose_beyond_overlay(evidence, plan, nodes.iter().copied());
    let tables = tables(evidence);
    let covering = IpNet::new(plan.node_ip(plan.hit()), length).unwrap().trunc();
    tables.links.push(link(DOCKER, "docker0", Some("bridge")));
    tables.routes.push(via(covering, None, DOCKER));
    tables.neighbours.extend(nodes.iter().map(|node| Neighbour {
        mac: None,
        state: NeighbourState::Incomplete,
        updated_age: Some(1.0),
        ..neighbour(DOCKER, plan.node_ip(*node), uplink_mac(*node))
    }));
}

#[test]
fn a_bridge_whose_network_covers_a_node_is_named() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    cover(&mut evidence, &plan, 32, &[plan.hit()]);
    let diagnosis = judge_ipv4(&mut evidence);
    assert_eq!(told(&diagnosis), [format!("peer-node-unreachable-l2 {}", plan.hit_cidr())]);
    let remedy = &diagnosis.findings[0].remedy[0];
    let words = "(leads to docker0; flannel.1 is bound to eth0)";
    assert!(remedy.contains(words), "{remedy}");
}

#[test]
fn a_bridge_whose_network_covers_all_nodes_is_not_the_device_for_flannel() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    cover(&mut evidence, &plan, 28, &plan.peers().collect::<Vec<_>>());
    let expected = plan.peers().map(|node| format!("peer-node-unreachable-l2 {}", plan.cidr(node)));
    assert_eq!(told(&judge_ipv4(&mut evidence)), expected.collect::<Vec<_>>());
}
