//! Several nodes judged together: `return-route-missing-on-peer`, `underlay-drops-vxlan`, and that
//! what one node proves is told once.

mod corpus;
mod export;
mod facts;
mod large;
mod macs;
mod vips;

use std::net::Ipv6Addr;

use super::{
    super::{
        Confidence, Joined, PeerState, Severity, diagnose_joined, exit_status_joined,
        testing::{
            OVERLAY, Pass, Plan, dual, mac, observe, peer_traffic, tables, twin, twin_words,
        },
    },
    injections::{
        blackhole, delete_bridge, delete_overlay, down_bridge, down_overlay, flap_overlay,
        lose_fdb, lose_neighbour, lose_route, lose_route_and_default, make_one_way,
    },
};
use crate::evidence::{
    Evidence, MacAddress, QueueCounters, RouteKind, StageCounts, Statistics, Stranger,
};

type Fault = fn(&mut Evidence, &Plan);

/// The address plan of a cluster of `nodes` as node `own` sees it; its faults hit node `hit`.
fn plan(own: u8, nodes: u8, pass: Pass) -> Plan {
    Plan { own, ..Plan::of(nodes, pass) }
}

/// The evidence of a healthy node whose overlay device has the MAC that the others know.
fn node(plan: &Plan) -> Evidence {
    let mut evidence = plan.evidence();
    let own = mac(plan.own);
    let tables = tables(&mut evidence);
    tables.links.iter_mut().filter(|it| it.index == OVERLAY).for_each(|it| it.mac = Some(own));
    let link_local =
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0x0800, 0xff, 0xfe00, 0x0700 | u16::from(plan.own));
    assert_eq!(MacAddress::of_eui64(link_local), Some(own));
    let addresses = tables.addresses.iter_mut();
    addresses.filter(|it| it.address.is_ipv6()).for_each(|it| it.address = link_local.into());
    evidence
}

/// Two nodes: what the first feels of the second, and what is wrong with the second.
fn pair(pass: Pass, felt: Fault, fault: Fault) -> [Evidence; 2] {
    let plans = [plan(0, 2, pass), plan(1, 2, pass)];
    let mut nodes = plans.each_ref().map(node);
    felt(&mut nodes[0], &plans[0]);
    fault(&mut nodes[1], &plans[1]);
    nodes.iter_mut().for_each(observe);
    nodes
}

fn healthy(_: &mut Evidence, _: &Plan) {}

/// `node: code subject` of every finding.
fn told(joined: &Joined) -> Vec<String> {
    let words = |it: &super::super::JoinedFinding| {
        let finding = &it.finding;
        format!("{}: {} {}", it.node, finding.code, finding.subject.key)
    };
    joined.findings.iter().map(words).collect()
}

fn judge(evidence: &[Evidence]) -> Joined {
    diagnose_joined(evidence, &[]).unwrap()
}

/// Judges both in IPv4, in IPv6, and with one beside the other healthy version.
fn assert_told(nodes: &[Evidence; 2], expected: &[&str]) {
    assert_eq!(told(&judge(nodes)), expected);
    let twins = nodes.each_ref().map(|node| twin(node).unwrap());
    let of_ipv6: Vec<String> = expected.iter().map(|it| twin_words(it)).collect();
    assert_eq!(told(&judge(&twins)), of_ipv6);
    let sound = pair(Pass::Tables, healthy, healthy).map(|node| twin(&node).unwrap());
    let [first, second] = [0, 1].map(|it| dual(&nodes[it], &sound[it], &nodes[it]));
    assert_eq!(told(&judge(&[first, second])), expected, "beside IPv6");
}

fn state(joined: &Joined, node: usize, peer: usize) -> PeerState {
    let cidrs = &joined.nodes[peer].diagnosis.pod_cidrs;
    let mut rows = joined.nodes[node].diagnosis.peers.iter();
    rows.find(|it| cidrs.contains(&it.cidr)).unwrap().state
}

#[test]
fn healthy_nodes_give_nothing_and_every_way_is_ok() {
    for pass in [Pass::Tables, Pass::SubnetEnv, Pass::PeersFile] {
        for nodes in [2, 3, 5] {
            let all: Vec<Evidence> = (0..nodes).map(|own| node(&plan(own, nodes, pass))).collect();
            let twins: Vec<Evidence> = all.iter().map(|it| twin(it).unwrap()).collect();
            for evidence in [all, twins] {
                let joined = judge(&evidence);
                assert_eq!(told(&joined), [""; 0], "{pass:?}");
                assert_eq!(exit_status_joined(&joined, &evidence, Severity::Warning), 0);
                let peers = joined.nodes.iter().flat_map(|it| &it.diagnosis.peers);
                assert!(peers.clone().all(|it| it.state == PeerState::Ok && it.name.is_some()));
                assert_eq!(peers.count(), joined.coverage.peers_total);
                assert!(!joined.unseen.iter().any(|it| it.contains("tables")), "{joined:?}");
            }
        }
    }
}

#[test]
fn a_missing_route_back_is_told_of_both_ends() {
    for pass in [Pass::Tables, Pass::PeersFile] {
        for fault in [lose_route, lose_route_and_default] {
            let nodes = pair(pass, make_one_way, fault);
            let expected = [
                "1: pod-route-missing 10.244.0.0/24",
                "0: return-route-missing-on-peer 10.244.1.0/24",
            ];
            assert_told(&nodes, &expected);
            let joined = judge(&nodes);
            let felt = &joined.findings[1].finding;
            assert_eq!((felt.severity, felt.confidence), (Severity::Critical, Confidence::Certain));
            assert!(felt.title.ends_with("has no route back to 10.244.0.0/24"), "{}", felt.title);
            assert!(felt.evidence[1].starts_with("on n1 (192.168.77.11): route table main has no"));
            assert_eq!(felt.remedy[1], "(on n1 (192.168.77.11))");
            assert_eq!(felt.impact.packets, 30);
        }
    }
}

#[test]
fn one_address_that_keeps_silent_is_explained_by_the_missing_route_too() {
    let felt: Fault = |evidence, plan| {
        make_one_way(evidence, plan);
        let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
        traffic.addresses_asked = 1;
        (traffic.lost.wire_to_peer, traffic.lost_early.wire_to_peer) = (40, 20);
    };
    let expected =
        ["1: pod-route-missing 10.244.0.0/24", "0: return-route-missing-on-peer 10.244.1.0/24"];
    assert_told(&pair(Pass::Tables, felt, lose_route), &expected);
}

#[test]
fn what_a_node_proves_of_itself_explains_what_others_feel() {
    let refuse: Fault = |evidence, plan| blackhole(evidence, plan, RouteKind::Blackhole);
    let faults: [(Fault, &str); 8] = [
        (refuse, "pod-route-blackholed 10.244.0.0/24"),
        (lose_fdb, "fdb-entry-missing 10.244.0.0/24"),
        (lose_neighbour, "neigh-entry-missing 10.244.0.0/24"),
        (delete_overlay, "flannel-link-missing flannel.1"),
        (down_overlay, "flannel-link-down flannel.1"),
        (flap_overlay, "flannel-link-flapped-state-lost flannel.1"),
        (down_bridge, "cni0-down cni0"),
        (delete_bridge, "cni0-down cni0"),
    ];
    for (fault, expected) in faults {
        let nodes = pair(Pass::SubnetEnv, make_one_way, fault);
        assert_told(&nodes, &[&format!("1: {expected}")]);
        let joined = judge(&nodes);
        let breaks = "answers from 10.244.1.0/24 at n0 (192.168.77.10)".to_owned();
        assert!(joined.findings[0].finding.breaks.contains(&breaks), "{joined:?}");
        assert_eq!(state(&joined, 0, 1), PeerState::Broken, "{expected}");
        assert_eq!(exit_status_joined(&joined, &nodes, Severity::Critical), 1);
    }
}

#[test]
fn a_fault_about_a_third_node_explains_nothing() {
    let plans = [plan(0, 3, Pass::Tables), plan(1, 3, Pass::Tables)];
    let mut nodes = plans.each_ref().map(node);
    let about_second = Plan { nodes: 2, ..plans[0].clone() };
    make_one_way(&mut nodes[0], &about_second);
    lose_route(&mut nodes[1], &plans[1]);
    nodes.iter_mut().for_each(observe);
    let expected = ["1: pod-route-missing 10.244.2.0/24", "0: tunnel-one-way 10.244.1.0/24"];
    let joined = judge(&nodes);
    assert_eq!(told(&joined), expected);
    let absent = "the own tables of 10.244.2.0/24: run check there and add its evidence";
    assert!(joined.unseen.iter().any(|it| it == absent), "{:?}", joined.unseen);
}

#[test]
fn what_stays_open_is_told_with_what_the_other_node_counted() {
    let joined = judge(&pair(Pass::Tables, make_one_way, healthy));
    assert_eq!(told(&joined), ["0: tunnel-one-way 10.244.1.0/24"]);
    let line = "by the evidence of n1 (192.168.77.11), 40 packets of 10.244.0.0/24 came in there, \
                40 came out of the tunnel, 40 went to pods, and 40 left for here";
    let evidence = &joined.findings[0].finding.evidence;
    assert_eq!(evidence.last().map(String::as_str), Some(line));
}

/// Nothing of the peer comes in, by any count.
fn hear_nothing(evidence: &mut Evidence, plan: &Plan) {
    make_one_way(evidence, plan);
    let flows = &mut evidence.traffic.as_mut().unwrap().flows;
    flows.retain(|flow| !plan.hit_cidr().contains(&flow.source));
    evidence.statistics = Some(queues(0));
}

/// Requests of the peer come in, but its answers to this node's do not, because this node's packets
/// do not arrive.
fn is_not_heard(evidence: &mut Evidence, plan: &Plan) {
    let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
    (traffic.lost.wire_to_peer, traffic.lost_early.wire_to_peer) = (30, 15);
    evidence.statistics = Some(queues(0));
}

fn queues(dropped: u64) -> Statistics {
    let queue = QueueCounters {
        ifindex: super::super::testing::UPLINK,
        interface: "eth0".to_owned(),
        kind: "fq_codel".to_owned(),
        dropped,
        overlimits: 0,
    };
    Statistics { queues: vec![queue], ..Statistics::default() }
}

const BOTH: [&str; 1] = ["0: underlay-drops-vxlan 10.244.1.0/24"];
const SYMPTOMS: [&str; 2] = ["1: tunnel-one-way 10.244.0.0/24", "0: tunnel-one-way 10.244.1.0/24"];

#[test]
fn a_network_that_drops_both_ways_is_one_finding() {
    let nodes = pair(Pass::Tables, hear_nothing, hear_nothing);
    assert_told(&nodes, &BOTH);
    let joined = judge(&nodes);
    let finding = &joined.findings[0].finding;
    assert_eq!(finding.confidence, Confidence::Certain);
    assert!(finding.title.ends_with("in both directions"), "{}", finding.title);
    assert_eq!([state(&joined, 0, 1), state(&joined, 1, 0)], [PeerState::Broken; 2]);
}

#[test]
fn a_network_that_drops_one_way_is_told_with_its_direction() {
    let (a, b) = ("n0 (192.168.77.10)", "n1 (192.168.77.11)");
    for (nodes, from, to) in [
        (pair(Pass::Tables, is_not_heard, hear_nothing), a, b),
        (pair(Pass::Tables, hear_nothing, is_not_heard), b, a),
    ] {
        assert_told(&nodes, &BOTH);
        let finding = &judge(&nodes).findings[0].finding;
        assert_eq!(finding.title, format!("The network loses VXLAN from {from} to {to}"));
        let back = format!("40 came in from {to} at {from}");
        assert!(finding.evidence.contains(&back), "{:?}", finding.evidence);
    }
}

#[test]
fn without_the_senders_queue_the_network_is_only_likely() {
    let mut nodes = pair(Pass::Tables, hear_nothing, hear_nothing);
    nodes[0].statistics = None;
    let joined = judge(&nodes);
    assert_eq!(told(&joined), BOTH);
    assert_eq!(joined.findings[0].finding.confidence, Confidence::Likely);
}

/// What keeps from blaming the network.
const EXCUSES: [(&str, Fault); 9] = [
    ("another VNI there", |evidence, _| overlay(evidence).vni = 7),
    ("another port there", |evidence, _| overlay(evidence).port = 4789),
    ("a program of others before the hook there", |evidence, _| {
        evidence.hooks.iter_mut().for_each(|hook| hook.foreign = vec!["other".to_owned()]);
    }),
    ("no program there", |evidence, _| {
        evidence.hooks.iter_mut().for_each(|hook| hook.attached = hook.interface != "eth0");
    }),
    ("no counters there", |evidence, _| evidence.traffic = None),
    ("a later window there", |evidence, _| later(evidence, 60)),
    ("a window that covers too little there", |evidence, _| later(evidence, 4)),
    ("packets came in as a stranger's", |evidence, plan| {
        let stranger = Stranger {
            inner_source: crate::topology::nth_address(plan.hit_cidr(), 5),
            outer_source: plan.node_ip(plan.hit()),
            packets: 40,
        };
        evidence.traffic.as_mut().unwrap().strangers.push(stranger);
    }),
    ("the address of the tunnel is on another device", |evidence, plan| {
        let own = plan.node_ip(plan.own);
        let addresses = tables(evidence).addresses.iter_mut();
        addresses
            .filter(|it| it.address == own)
            .for_each(|it| it.ifindex = super::super::testing::LO);
    }),
];

fn overlay(evidence: &mut Evidence) -> &mut crate::evidence::Vxlan {
    let mut links = tables(evidence).links.iter_mut();
    links.find_map(|link| link.vxlan.as_mut()).unwrap()
}

fn later(evidence: &mut Evidence, seconds: i64) {
    let start = &mut evidence.window.start;
    *start = start.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
}

#[test]
fn the_network_is_not_blamed_without_proof() {
    for (what, excuse) in EXCUSES {
        let mut nodes = pair(Pass::Tables, hear_nothing, hear_nothing);
        // The way back is known not to be lost.
        is_not_heard(&mut nodes[0], &plan(0, 2, Pass::Tables));
        let traffic = peer_traffic(&mut nodes[0], plan(0, 2, Pass::Tables).hit_cidr()).unwrap();
        traffic.packets.wire_in = 40;
        excuse(&mut nodes[1], &plan(1, 2, Pass::Tables));
        let joined = judge(&nodes);
        let blamed = told(&joined).iter().any(|it| it.contains("underlay"));
        assert!(!blamed, "{what}: {joined:#?}");
        assert!(!joined.findings.is_empty(), "{what}: the symptom is told");
    }
}

#[test]
fn what_the_sender_did_not_send_or_dropped_itself_is_not_lost_in_the_network() {
    let few: Fault = |evidence, plan| {
        hear_nothing(evidence, plan);
        let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
        let counts = |wire_out| StageCounts { wire_out, ..StageCounts::default() };
        (traffic.packets, traffic.early) = (counts(8), counts(4));
    };
    let queued: Fault = |evidence, plan| {
        hear_nothing(evidence, plan);
        evidence.statistics = Some(queues(40));
    };
    let elsewhere: Fault = |evidence, plan| {
        hear_nothing(evidence, plan);
        let other = plan.node_ip(200);
        tables(evidence).fdb.iter_mut().for_each(|it| it.destination = Some(other));
    };
    let by_another_mac: Fault = |evidence, plan| {
        hear_nothing(evidence, plan);
        let node = plan.node_ip(plan.hit());
        let wrong = MacAddress([2, 6, 6, 6, 6, 6]);
        let entry = super::super::testing::neighbour(super::super::testing::UPLINK, node, wrong);
        tables(evidence).neighbours.push(entry);
    };
    for sender in [few, queued, by_another_mac] {
        let nodes = pair(Pass::Tables, sender, sender);
        assert_eq!(told(&judge(&nodes)), SYMPTOMS);
    }
    let nodes = pair(Pass::Tables, elsewhere, elsewhere);
    let expected = SYMPTOMS.map(|it| it.replace("tunnel-one-way", "fdb-entry-dead-node-ip"));
    assert_eq!(told(&judge(&nodes)), expected, "each knows the other's address by its evidence");
}

#[test]
fn windows_that_do_not_overlap_are_told() {
    let mut nodes = pair(Pass::Tables, hear_nothing, hear_nothing);
    later(&mut nodes[1], 60);
    let joined = judge(&nodes);
    assert_eq!(told(&joined), SYMPTOMS);
    assert!(
        joined.unseen.iter().any(|it| it.contains("their windows do not overlap")),
        "{joined:?}"
    );
}

#[test]
fn two_nodes_that_do_not_find_each_other_on_their_network_are_one_finding() {
    let unreachable: Fault = |evidence, plan| {
        let node = plan.node_ip(plan.hit());
        let entry = super::super::testing::neighbour(
            super::super::testing::UPLINK,
            node,
            MacAddress([2, 9, 9, 9, 9, 1]),
        );
        let state = crate::evidence::NeighbourState::Failed;
        let failed =
            crate::evidence::Neighbour { mac: None, state, updated_age: Some(5.0), ..entry };
        tables(evidence).neighbours.push(failed);
        make_one_way(evidence, plan);
        let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
        (traffic.packets.wire_out, traffic.early.wire_out, traffic.asking_out) = (0, 0, 0);
        (traffic.lost.overlay_to_wire, traffic.lost_early.overlay_to_wire) = (40, 20);
    };
    let nodes = pair(Pass::Tables, unreachable, unreachable);
    assert_eq!(told(&judge(&nodes)), ["0: peer-node-unreachable-l2 10.244.1.0/24"]);
}

#[test]
fn an_ignored_cause_takes_what_others_feel_with_it() {
    let nodes = pair(Pass::SubnetEnv, make_one_way, lose_fdb);
    let joined = diagnose_joined(&nodes, &["fdb-entry-missing".parse().unwrap()]).unwrap();
    assert_eq!(told(&joined), [""; 0]);
    assert!(joined.unseen.iter().any(|it| it.ends_with("--ignore")));
    assert_eq!(state(&joined, 0, 1), PeerState::OneWayOut);
    let nodes = pair(Pass::Tables, hear_nothing, hear_nothing);
    let joined = diagnose_joined(&nodes, &["underlay-drops-vxlan".parse().unwrap()]).unwrap();
    assert_eq!(told(&joined), [""; 0]);
}
