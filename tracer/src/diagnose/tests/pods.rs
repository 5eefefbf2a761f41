//! Pods of this node that packets do not reach: a veth in no bridge, an address that nobody has.

use std::net::IpAddr;

use super::{
    super::{
        Finding, PeerState, Severity, SubjectKind, diagnose,
        testing::{
            self, BRIDGE, OVERLAY, PASSES, Pass, Plan, VETH, address, dual, judge, judge_ipv4,
            link, mac, neighbour, peer_traffic, tables, told, twin,
        },
    },
    faults::{Fault, assert_told},
};
use crate::{
    evidence::{Evidence, Link, Neighbour, NeighbourState, Undelivered},
    topology::nth_address,
};

const NAME: &str = "veth0a1b2c3d";

fn plans() -> Vec<Plan> {
    let of = |pass| [2, 3, 5].map(|nodes| Plan::of(nodes, pass));
    PASSES.into_iter().flat_map(of).collect()
}

/// The pod that is called in vain.
fn pod(plan: &Plan) -> IpAddr {
    nth_address(plan.own_cidr(), 77)
}

/// A peer calls an address, for which the bridge asks without an answer.
fn call(evidence: &mut Evidence, plan: &Plan, address: IpAddr, packets: u64) {
    set_entry(evidence, address, NeighbourState::Failed);
    let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
    traffic.undelivered.push(Undelivered { address, packets });
    traffic.lost.overlay_to_pod += packets;
    traffic.lost_early.overlay_to_pod += packets / 2;
}

fn set_entry(evidence: &mut Evidence, address: IpAddr, state: NeighbourState) {
    let entry = neighbour(BRIDGE, address, mac(99));
    let mac = entry.mac.filter(|_| state.is_valid());
    tables(evidence).neighbours.retain(|it| it.ifindex != BRIDGE || it.address != address);
    tables(evidence).neighbours.push(Neighbour { mac, state, ..entry });
}

fn call_the_pod(evidence: &mut Evidence, plan: &Plan) {
    call(evidence, plan, pod(plan), 12);
}

fn veth(evidence: &mut Evidence) -> &mut Link {
    tables(evidence).links.iter_mut().find(|link| link.index == VETH).unwrap()
}

fn detach(evidence: &mut Evidence, plan: &Plan) {
    call_the_pod(evidence, plan);
    (veth(evidence).name, veth(evidence).master) = (NAME.to_owned(), None);
}

fn set_down(evidence: &mut Evidence, plan: &Plan) {
    call_the_pod(evidence, plan);
    veth(evidence).name = NAME.to_owned();
    (veth(evidence).up, veth(evidence).lower_up) = (false, false);
}

#[test]
fn a_veth_of_a_pod_that_is_in_no_bridge_or_down() {
    let detached = |_: &Plan| format!("pod-veth-detached {NAME}");
    let faults: [Fault; 2] = [("without master", detach, detached), ("down", set_down, detached)];
    assert_told(&faults, Severity::Critical, &plans());
    let finding = finding(detach);
    assert_eq!(finding.subject.address, Some(pod(&Plan::of(3, Pass::Tables))));
    assert_eq!(finding.subject.interface.as_deref(), Some(NAME));
    assert_eq!(finding.impact.packets, 12);
    assert_eq!(finding.remedy[0], format!("ip link set {NAME} master cni0 up"));
}

#[test]
fn an_address_that_no_pod_has() {
    let gone = |plan: &Plan| format!("pod-address-gone {}", pod(plan));
    let faults: [Fault; 1] = [("called", call_the_pod, gone)];
    assert_told(&faults, Severity::Warning, &plans());
    let finding = finding(call_the_pod);
    assert_eq!(finding.subject.kind, SubjectKind::Flow);
    assert_eq!(finding.subject.address, Some(pod(&Plan::of(3, Pass::Tables))));
    assert_eq!(finding.impact.packets, 12);
}

fn finding(fault: fn(&mut Evidence, &Plan)) -> Finding {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    fault(&mut evidence, &plan);
    let diagnosis = judge(&mut evidence);
    assert!(diagnosis.peers.iter().all(|peer| peer.state == PeerState::Ok));
    diagnosis.findings[0].clone()
}

#[test]
fn a_pod_of_both_versions_has_one_veth_and_two_addresses() {
    let plan = Plan::of(3, Pass::Tables);
    let broken = |fault: fn(&mut Evidence, &Plan)| {
        let mut evidence = plan.evidence();
        fault(&mut evidence, &plan);
        dual(&evidence, &twin(&evidence).unwrap(), &evidence)
    };
    let detached = diagnose(&broken(detach));
    assert_eq!(told(&detached), [format!("pod-veth-detached {NAME}")]);
    assert_eq!(detached.findings[0].impact.packets, 24);
    let expected = ["pod-address-gone 10.244.1.77", "pod-address-gone fd00:a:f4:1::4d"];
    assert_eq!(told(&diagnose(&broken(call_the_pod))), expected);
}

#[test]
fn several_veths_in_no_bridge_are_named_each_and_no_pod_is_guessed() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    detach(&mut evidence, &plan);
    let second = tables(&mut evidence).links.iter_mut().find(|it| it.index == VETH + 1).unwrap();
    (second.name, second.master) = ("veth0a1b2c3e".to_owned(), None);
    let diagnosis = judge(&mut evidence);
    let expected = [NAME, "veth0a1b2c3e"].map(|name| format!("pod-veth-detached {name}"));
    assert_eq!(told(&diagnosis), expected);
    assert!(diagnosis.findings.iter().all(|it| it.subject.address.is_none()));
}

/// Nothing is found after this change.
fn assert_healthy(change: impl Fn(&mut Evidence, &Plan)) -> Vec<String> {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    change(&mut evidence, &plan);
    testing::assert_healthy(&mut evidence)
}

#[test]
fn pods_that_come_or_that_few_packets_ask_for_are_healthy() {
    // It answers at last.
    assert_healthy(|evidence, plan| {
        call(evidence, plan, pod(plan), 12);
        let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
        (traffic.lost.overlay_to_pod, traffic.lost_early.overlay_to_pod) = (12, 12);
        let before = evidence.tables.clone();
        set_entry(evidence, pod(plan), NeighbourState::Reachable);
        evidence.tables_after = std::mem::replace(&mut evidence.tables, before);
    });
    // Two packets of a client that has not heard yet.
    assert_healthy(|evidence, plan| call(evidence, plan, pod(plan), 2));
    // Nobody calls the pod whose veth is being made.
    assert_healthy(|evidence, _| {
        (veth(evidence).name, veth(evidence).master) = (NAME.to_owned(), None);
    });
    // A host of the LAN that is off, a peer's pod, and the node's own: its bridge and its overlay
    // device, for whose address the bridge was asked once.
    assert_healthy(|evidence, plan| {
        let own = [0, 1].map(|nth| nth_address(plan.own_cidr(), nth));
        let others = ["192.168.77.200".parse().unwrap(), nth_address(plan.hit_cidr(), 77)];
        for address in own.into_iter().chain(others) {
            set_entry(evidence, address, NeighbourState::Failed);
            let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
            traffic.undelivered.push(Undelivered { address, packets: 12 });
        }
    });
}

#[test]
fn broadcasts_of_the_pod_network_are_for_no_pod() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    call(&mut evidence, &plan, nth_address(plan.own_cidr(), 255), 12);
    let told = told(&judge_ipv4(&mut evidence));
    assert!(!told.iter().any(|it| it.starts_with("pod-address-gone")), "{told:?}");
}

#[test]
fn a_scan_of_the_pod_network_finds_no_pods_and_none_is_missing() {
    let unseen = assert_healthy(|evidence, plan| {
        for last in 100..120 {
            call(evidence, plan, nth_address(plan.own_cidr(), last), 4);
        }
    });
    assert!(unseen.iter().any(|line| line.contains("whether 20 addresses")), "{unseen:?}");
}

#[test]
fn veths_of_others_are_no_pods_that_were_cut_off() {
    let told_with = |change: &dyn Fn(&mut Evidence)| {
        let plan = Plan::of(3, Pass::Tables);
        let mut evidence = plan.evidence();
        call_the_pod(&mut evidence, &plan);
        let mut other = link(60, NAME, Some("veth"));
        other.lower_elsewhere = true;
        tables(&mut evidence).links.push(other);
        change(&mut evidence);
        told(&judge(&mut evidence))
    };
    let other = |evidence: &mut Evidence, change: &dyn Fn(&mut Link)| {
        change(tables(evidence).links.iter_mut().find(|link| link.index == 60).unwrap());
    };
    let gone = ["pod-address-gone 10.244.1.77"];
    assert_eq!(told_with(&|_| {}), [format!("pod-veth-detached {NAME}")], "nobody else's");
    // Docker's names are shorter, and others give names of their own.
    for name in ["veth0a1b2c3", "vethwepl1234", "ns-uplink"] {
        assert_eq!(told_with(&|it| other(it, &|link| link.name = name.to_owned())), gone, "{name}");
    }
    assert_eq!(told_with(&|it| other(it, &|link| link.master = Some(OVERLAY + 50))), gone);
    let own = |it: &mut Evidence| tables(it).addresses.push(address(60, "172.30.0.1", 30));
    assert_eq!(told_with(&own), gone, "it has an address of its own");
}
