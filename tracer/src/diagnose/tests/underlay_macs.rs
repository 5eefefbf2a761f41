//! The MACs by which the uplink sends to the nodes of peers, and those of the frames that come back.

use std::net::IpAddr;

use super::{
    super::{
        Severity,
        finding::Confidence,
        testing::{
            PASSES, POLICY, Pass, Plan, UPLINK, assert_healthy, judge, judge_ipv4, neighbour,
            peer_traffic, tables, told, uplink_mac, via,
        },
    },
    nodes::refuse_tunnel,
    underlay::set_node_entry,
};
use crate::evidence::{Evidence, MacAddress, NeighbourState};

/// A MAC of no node.
const NOBODYS: MacAddress = MacAddress([2, 7, 7, 7, 7, 7]);

/// The entry for the peer's node has a MAC that is not that of its frames.
fn write(evidence: &mut Evidence, plan: &Plan, state: NeighbourState) {
    set_node_entry(evidence, plan, plan.hit(), state, 100.0);
    let node = plan.node_ip(plan.hit());
    let is_its = |ifindex: u32, address: IpAddr| (ifindex, address) == (UPLINK, node);
    for entry in &mut tables(evidence).neighbours {
        if is_its(entry.ifindex, entry.address) {
            entry.mac = Some(NOBODYS);
        }
    }
}

/// What pods here ask of this many addresses of the peer is not answered, and it goes on asking itself.
fn lose_answers(evidence: &mut Evidence, plan: &Plan, addresses: u64, answered: u64) {
    let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
    (traffic.lost.wire_to_peer, traffic.lost_early.wire_to_peer) = (30, 15);
    (traffic.asking_out, traffic.answered, traffic.addresses_silent) =
        (70, Some(answered), addresses);
}

/// Both, as the node feels them whose entry somebody wrote.
pub(super) fn send_to_nobody(evidence: &mut Evidence, plan: &Plan) {
    write(evidence, plan, NeighbourState::Permanent);
    lose_answers(evidence, plan, 2, 0);
}

fn broken(pass: Pass, nodes: u8, state: NeighbourState) -> (Evidence, Plan) {
    let plan = Plan::of(nodes, pass);
    let mut evidence = plan.evidence();
    write(&mut evidence, &plan, state);
    lose_answers(&mut evidence, &plan, 2, 0);
    (evidence, plan)
}

fn expected(plan: &Plan) -> [String; 1] {
    [format!("underlay-neighbour-wrong-mac {}", plan.hit_cidr())]
}

#[test]
fn an_entry_that_somebody_wrote_is_certain_and_one_that_was_answered_likely() {
    for pass in PASSES {
        for nodes in [2, 3, 5] {
            for (state, confidence) in [
                (NeighbourState::Permanent, Confidence::Certain),
                (NeighbourState::Reachable, Confidence::Likely),
                (NeighbourState::Stale, Confidence::Likely),
            ] {
                let (mut evidence, plan) = broken(pass, nodes, state);
                let diagnosis = judge(&mut evidence);
                assert_eq!(told(&diagnosis), expected(&plan), "{pass:?} {state:?}");
                let finding = &diagnosis.findings[0];
                assert_eq!(
                    (finding.severity, finding.confidence),
                    (Severity::Critical, confidence)
                );
                let delete = format!("ip neigh del {} dev eth0", plan.node_ip(plan.hit()));
                assert!(finding.remedy[0].starts_with(&delete), "{:?}", finding.remedy);
            }
        }
    }
}

#[test]
fn whoever_refuses_the_tunnel_gets_its_packets_and_the_mac_is_a_hint() {
    let (mut evidence, plan) = broken(Pass::PeersFile, 3, NeighbourState::Reachable);
    refuse_tunnel(&mut evidence, &plan, plan.node_ip(plan.hit()));
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), [format!("peer-vtep-not-listening {}", plan.hit_cidr())]);
    let hints = |remedy: &[String]| remedy.iter().any(|it| it.contains(&NOBODYS.to_string()));
    assert!(hints(&diagnosis.findings[0].remedy), "{diagnosis:?}");
    // The MACs are the same: no other machine is hinted at.
    set_node_entry(&mut evidence, &plan, plan.hit(), NeighbourState::Reachable, 1.0);
    let diagnosis = judge(&mut evidence);
    assert!(!diagnosis.findings[0].remedy.iter().any(|it| it.contains("another machine")));
}

#[test]
fn where_a_policy_may_forbid_answers_only_an_entry_that_somebody_wrote_is_told() {
    let of = |state: NeighbourState| {
        let (mut evidence, plan) = broken(Pass::PeersFile, 3, state);
        evidence.intent.policy_netfilter = vec![POLICY.to_owned()];
        (judge(&mut evidence), plan)
    };
    assert_eq!(told(&of(NeighbourState::Reachable).0), [""; 0]);
    let (by_hand, plan) = of(NeighbourState::Permanent);
    assert_eq!(told(&by_hand), expected(&plan));
    assert_eq!(by_hand.findings[0].confidence, Confidence::Likely);
}

#[test]
fn an_entry_that_the_kernel_made_of_a_device_without_arp_is_nobody_s_mistake() {
    let (mut evidence, plan) = broken(Pass::PeersFile, 3, NeighbourState::NoArp);
    let loss = format!("unexplained-loss {}", plan.hit_cidr());
    assert_eq!(told(&judge(&mut evidence)), [loss]);
}

#[test]
fn another_mac_is_healthy_while_anything_is_answered() {
    for state in [NeighbourState::Permanent, NeighbourState::Reachable] {
        let plan = Plan::of(3, Pass::PeersFile);
        let mut evidence = plan.evidence();
        write(&mut evidence, &plan, state);
        assert_healthy(&mut evidence);
        // One of its pods is dead, or one of many is not.
        for (silent, answered) in [(1, 0), (2, 3)] {
            let mut evidence = evidence.clone();
            lose_answers(&mut evidence, &plan, silent, answered);
            let loss = format!("unexplained-loss {}", plan.hit_cidr());
            assert_eq!(told(&judge(&mut evidence)), [loss]);
        }
    }
}

#[test]
fn a_connection_of_before_that_both_ends_go_on_with_is_no_answer_where_somebody_wrote_the_entry() {
    let told_of = |state: NeighbourState, answered: u64| {
        let (mut evidence, plan) = broken(Pass::PeersFile, 3, state);
        lose_answers(&mut evidence, &plan, 2, answered);
        (told(&judge(&mut evidence)), expected(&plan), plan)
    };
    let (told, expected, _) = told_of(NeighbourState::Permanent, 1);
    assert_eq!(told, expected);
    for (state, answered) in [(NeighbourState::Permanent, 2), (NeighbourState::Reachable, 1)] {
        let (told, _, plan) = told_of(state, answered);
        assert_eq!(told, [format!("unexplained-loss {}", plan.hit_cidr())], "{state:?}");
    }
}

#[test]
fn frames_of_a_router_or_of_nobody_tell_nothing_of_a_node_s_mac() {
    let loss = |plan: &Plan| [format!("unexplained-loss {}", plan.hit_cidr())];
    // They come by the gateway.
    let (mut evidence, plan) = broken(Pass::PeersFile, 3, NeighbourState::Reachable);
    let gateway = tables(&mut evidence).neighbours[0].mac;
    peer_traffic(&mut evidence, plan.hit_cidr()).unwrap().outer_source_mac = gateway;
    assert_eq!(told(&judge(&mut evidence)), loss(&plan));
    // Processors saw different ones, or none is known.
    let (mut evidence, plan) = broken(Pass::PeersFile, 3, NeighbourState::Reachable);
    peer_traffic(&mut evidence, plan.hit_cidr()).unwrap().outer_source_mac = None;
    assert_eq!(told(&judge(&mut evidence)), loss(&plan));
    // They are of another address than packets are sent to.
    let (mut evidence, plan) = broken(Pass::PeersFile, 3, NeighbourState::Reachable);
    let elsewhere = "198.51.100.7".parse().ok();
    peer_traffic(&mut evidence, plan.hit_cidr()).unwrap().outer_source = elsewhere;
    assert_eq!(told(&judge(&mut evidence)), loss(&plan));
    // The right MAC, and the loss has another cause.
    let (mut evidence, plan) = broken(Pass::PeersFile, 3, NeighbourState::Reachable);
    set_node_entry(&mut evidence, &plan, plan.hit(), NeighbourState::Reachable, 1.0);
    assert_eq!(told(&judge(&mut evidence)), loss(&plan));
    // The machine that has the MAC is known by another address.
    let (mut evidence, plan) = broken(Pass::PeersFile, 3, NeighbourState::Reachable);
    let second = neighbour(UPLINK, plan.node_ip(99), uplink_mac(plan.hit()));
    tables(&mut evidence).neighbours.push(second);
    assert_eq!(told(&judge(&mut evidence)), loss(&plan));
}

#[test]
fn the_node_s_other_addresses_are_known_by_its_own_mac() {
    for (address, is_told) in
        [("fd00::5", true), ("fe80::5", true), ("192.168.120.99", false), ("fe80::1", false)]
    {
        let (mut evidence, plan) = broken(Pass::PeersFile, 3, NeighbourState::Reachable);
        let known = neighbour(UPLINK, address.parse().unwrap(), uplink_mac(plan.hit()));
        tables(&mut evidence).neighbours.push(known);
        let router = via("::/0".parse().unwrap(), "fe80::1".parse().ok(), UPLINK);
        tables(&mut evidence).routes.push(router);
        let expected = if is_told {
            expected(&plan)
        } else {
            [format!("unexplained-loss {}", plan.hit_cidr())]
        };
        assert_eq!(told(&judge_ipv4(&mut evidence)), expected, "{address}");
    }
}
