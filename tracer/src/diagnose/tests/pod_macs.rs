//! `pod-neighbour-stale-mac`: the bridge's neighbour entry for a pod has another's MAC, and what
//! resembles it.

use std::net::IpAddr;

use super::super::{
    Severity, diagnose,
    testing::{
        BRIDGE, PASSES, Pass, Plan, dropped, finds_nothing, judge, mac, neighbour, tables, told,
    },
};
use crate::{
    evidence::{
        Drop, DropFlow, DropPlace, Drops, Evidence, MacAddress, NeighbourState, Sight, Sighting,
    },
    topology::nth_address,
};

fn pod(plan: &Plan) -> IpAddr {
    nth_address(plan.own_cidr(), 9)
}

/// The MAC of who had the address before.
fn wrong() -> MacAddress {
    mac(98)
}

/// The bridge's only entry for the pod.
fn set_entry(evidence: &mut Evidence, plan: &Plan, state: NeighbourState) {
    let address = pod(plan);
    let mut entry = neighbour(BRIDGE, address, wrong());
    entry.state = state;
    entry.mac = entry.mac.filter(|_| state.is_valid());
    tables(evidence).neighbours.retain(|it| it.ifindex != BRIDGE || it.address != address);
    tables(evidence).neighbours.push(entry);
}

/// What the pod refuses of what a peer's pod sends it.
fn refused(plan: &Plan) -> Drop {
    let (source, destination) = (nth_address(plan.hit_cidr(), 5), pod(plan));
    let flow = dropped().flow.map(|flow| DropFlow { source, destination, ..flow });
    let reason = Some("OTHERHOST".to_owned());
    let symbol = Some("ip_rcv_core".to_owned());
    Drop { reason, symbol, interface: None, place: DropPlace::Pod, flow, ..dropped() }
}

fn set_drop(evidence: &mut Evidence, drop: Drop) {
    let entries = vec![drop];
    evidence.drops = Some(Drops { entries, headers_read: true, ..Drops::default() });
}

fn claim(evidence: &mut Evidence, plan: &Plan, mac: MacAddress) {
    let what = Sight::Claim { address: pod(plan), mac };
    let sighting = Sighting { interface: "cni0".to_owned(), what, packets: 2, early: 1 };
    evidence.traffic.as_mut().unwrap().sightings.push(sighting);
}

#[test]
fn a_pod_that_is_sent_frames_for_another_mac_is_told_with_both() {
    for pass in PASSES {
        let states = [NeighbourState::Permanent, NeighbourState::Reachable, NeighbourState::Stale];
        for (state, reason) in states.into_iter().zip([Some("OTHERHOST"), Some("OTHERHOST"), None])
        {
            let plan = Plan::of(3, pass);
            let mut evidence = plan.evidence();
            set_entry(&mut evidence, &plan, state);
            set_drop(&mut evidence, Drop { reason: reason.map(str::to_owned), ..refused(&plan) });
            claim(&mut evidence, &plan, mac(99));
            let diagnosis = judge(&mut evidence);
            assert_eq!(told(&diagnosis), [format!("pod-neighbour-stale-mac {}", pod(&plan))]);
            let finding = &diagnosis.findings[0];
            assert_eq!((finding.severity, finding.impact.packets), (Severity::Warning, 10));
            assert_eq!(finding.subject.address, Some(pod(&plan)));
            assert_eq!(finding.subject.interface.as_deref(), Some("cni0"));
            assert_eq!(diagnosis.drop_causes, ["pod-neighbour-stale-mac"]);
            let [wrong, right] = [wrong(), mac(99)].map(|mac| mac.to_string());
            assert!(finding.evidence[0].contains(&wrong), "{:?}", finding.evidence);
            assert!(finding.evidence[0].contains(&right), "{:?}", finding.evidence);
            let is_permanent = finding.remedy[1].contains("permanent");
            assert_eq!(is_permanent, state == NeighbourState::Permanent);
        }
    }
}

#[test]
fn the_command_deletes_the_entry_and_a_mac_that_nobody_claims_is_not_guessed() {
    let plan = Plan::of(2, Pass::Tables);
    let mut evidence = plan.evidence();
    set_entry(&mut evidence, &plan, NeighbourState::Permanent);
    set_drop(&mut evidence, refused(&plan));
    let finding = &judge(&mut evidence).findings[0];
    let expected = format!("ip neigh del {} dev cni0 ", pod(&plan));
    assert!(finding.remedy[0].starts_with(&expected), "{:?}", finding.remedy);
    assert!(!finding.evidence[0].contains("claims"), "{:?}", finding.evidence);
    // What the node itself sends, as a kubelet's probe, goes the same way.
    let flow = refused(&plan)
        .flow
        .map(|flow| DropFlow { source: nth_address(plan.own_cidr(), 1), ..flow });
    set_drop(&mut evidence, Drop { flow, ..refused(&plan) });
    assert_eq!(told(&diagnose(&evidence)).len(), 1);
}

#[test]
fn what_other_pods_refuse_or_one_pod_sends_another_is_not_told() {
    let plan = Plan::of(3, Pass::Tables);
    let entry = |evidence: &mut Evidence| set_entry(evidence, &plan, NeighbourState::Reachable);
    let drop = refused(&plan);
    let to = |source, destination| drop.flow.map(|flow| DropFlow { source, destination, ..flow });
    let source = nth_address(plan.hit_cidr(), 5);
    for other in [
        // Of the node's own namespace: a bridge or a card in promiscuous mode.
        Drop { place: DropPlace::Node, interface: Some("cni0".to_owned()), ..drop.clone() },
        // The sender is a pod of the same bridge, whose table is its own.
        Drop { flow: to(nth_address(plan.own_cidr(), 12), pod(&plan)), ..drop.clone() },
        // For no pod of this node, or no longer.
        Drop { flow: to(source, nth_address(plan.hit_cidr(), 6)), ..drop.clone() },
        Drop { flow: None, ..drop.clone() },
        Drop { packets: 2, early: 1, ..drop.clone() },
        // It ended, or has begun.
        Drop { early: 10, ..drop.clone() },
        Drop { early: 0, ..drop.clone() },
        Drop { reason: Some("IP_CSUM".to_owned()), ..drop.clone() },
    ] {
        finds_nothing(|evidence| {
            entry(evidence);
            set_drop(evidence, other.clone());
        });
    }
}

#[test]
fn an_address_whose_entry_is_right_or_not_there_any_more_is_not_told() {
    let plan = Plan::of(3, Pass::Tables);
    // Given to another pod: no drop any more, whoever had it before.
    finds_nothing(|evidence| {
        set_entry(evidence, &plan, NeighbourState::Reachable);
        claim(evidence, &plan, mac(99));
    });
    // The entry has failed, and the kernel asks anew.
    for state in [NeighbourState::Failed, NeighbourState::Incomplete] {
        finds_nothing(|evidence| {
            set_entry(evidence, &plan, state);
            set_drop(evidence, refused(&plan));
        });
    }
    // Somebody claims the address for the MAC of the entry: two have it, or the drops are old.
    finds_nothing(|evidence| {
        set_entry(evidence, &plan, NeighbourState::Reachable);
        set_drop(evidence, refused(&plan));
        claim(evidence, &plan, wrong());
    });
}

#[test]
fn an_entry_that_heals_during_the_check_is_no_finding() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    set_entry(&mut evidence, &plan, NeighbourState::Permanent);
    set_drop(&mut evidence, refused(&plan));
    let broken = evidence.tables.clone();
    set_entry(&mut evidence, &plan, NeighbourState::Failed);
    evidence.tables_after = evidence.tables.take();
    evidence.tables = broken;
    assert_eq!(diagnose(&evidence).findings, []);
}
