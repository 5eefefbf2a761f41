//! Faults of flannel's device that leave it up: emptied, without its address.

use super::{
    super::{
        PeerState, Severity, exit_status,
        testing::{OVERLAY, PASSES, Pass, Plan, UPLINK, judge, tables, told, via},
    },
    faults::{Fault, assert_not_judged, assert_told, plans},
};
use crate::{
    evidence::{Evidence, Stranger},
    topology::nth_address,
};

/// Nothing is written into the device; its link-local address and the kernel's own entries stay.
fn empty(evidence: &mut Evidence, _: &Plan) {
    let tables = tables(evidence);
    tables.routes.retain(|route| {
        route.destination.addr().is_ipv6()
            || route.table == 255
            || route.next_hops.iter().all(|hop| hop.ifindex != Some(OVERLAY))
    });
    tables.neighbours.retain(|it| it.ifindex != OVERLAY || it.address.is_ipv6());
    tables.fdb.clear();
}

/// The kernel takes the routes and the neighbours with the address.
fn lose_address(evidence: &mut Evidence, _: &Plan) {
    let tables = tables(evidence);
    tables.addresses.retain(|it| it.ifindex != OVERLAY || it.address.is_ipv6());
    tables.neighbours.retain(|it| it.ifindex != OVERLAY || it.address.is_ipv6());
    tables.routes.retain(|route| {
        route.destination.addr().is_ipv6()
            || route.next_hops.iter().all(|hop| hop.ifindex != Some(OVERLAY))
    });
}

/// No peer was known when the window began; the peers' packets come in all the same.
fn meet_strangers(evidence: &mut Evidence, plan: &Plan) {
    let Some(traffic) = &mut evidence.traffic else { return };
    traffic.peers.clear();
    traffic.strangers.extend(plan.peers().map(|node| Stranger {
        inner_source: nth_address(plan.cidr(node), 5),
        outer_source: plan.node_ip(node),
        packets: 9,
    }));
}

const EMPTY: [Fault; 1] = [(
    "emptied",
    |evidence, plan| {
        empty(evidence, plan);
        meet_strangers(evidence, plan);
    },
    |plan| format!("flannel-link-recreated-empty {}", plan.overlay),
)];
const NO_ADDRESS: [Fault; 1] = [(
    "without address",
    |evidence, plan| {
        lose_address(evidence, plan);
        meet_strangers(evidence, plan);
    },
    |plan| format!("flannel-address-missing {}", plan.overlay),
)];
/// The plans in which there is a sign of life besides the tables.
fn plans_with(sign: impl Fn(&Plan) -> bool) -> Vec<Plan> {
    plans().into_iter().filter(|plan| plan.seconds > 0.0 || sign(plan)).collect()
}

#[test]
fn an_emptied_device_is_told_by_a_peer_that_lives() {
    let plans = plans_with(|plan| plan.pass == Pass::PeersFile);
    assert_told(&EMPTY, Severity::Critical, &plans);
    for plan in plans {
        let mut evidence = plan.evidence();
        EMPTY[0].1(&mut evidence, &plan);
        let diagnosis = judge(&mut evidence);
        assert!(diagnosis.peers.iter().all(|peer| peer.state == PeerState::Broken));
        assert_eq!(diagnosis.findings[0].breaks.len(), plan.peers().count());
    }
}

#[test]
fn an_emptied_device_without_a_sign_of_life_is_a_cluster_of_one_node() {
    for pass in [Pass::Tables, Pass::SubnetEnv] {
        for seconds in [0.0, 5.0] {
            let plan = Plan { seconds, ..Plan::of(3, pass) };
            let mut evidence = plan.evidence();
            empty(&mut evidence, &plan);
            evidence.traffic.iter_mut().for_each(|traffic| traffic.peers.clear());
            // Packets to the pod network that leak may be those of a client of a removed node.
            evidence.traffic.iter_mut().for_each(|traffic| traffic.stages.leak.packets = 40);
            let diagnosis = judge(&mut evidence);
            assert_eq!(told(&diagnosis), [""; 0]);
            assert_eq!(exit_status(&diagnosis, &evidence, Severity::Warning), 0);
            let unsure = |line: &String| line.starts_with("whether there are peers: flannel.1 has");
            assert!(diagnosis.unseen.iter().any(unsure), "{:?}", diagnosis.unseen);
        }
    }
}

#[test]
fn a_device_that_direct_routing_leaves_empty_is_healthy_and_needs_no_address() {
    for pass in PASSES {
        for fault in [empty, lose_address] {
            let plan = Plan { seconds: 0.0, ..Plan::of(3, pass) };
            let mut evidence = plan.evidence();
            fault(&mut evidence, &plan);
            for node in plan.peers() {
                let route = via(plan.cidr(node), Some(plan.node_ip(node)), UPLINK);
                tables(&mut evidence).routes.push(route);
            }
            let diagnosis = judge(&mut evidence);
            assert_eq!(told(&diagnosis), [""; 0], "{pass:?}");
            assert!(!diagnosis.unseen.iter().any(|line| line.starts_with("whether there are")));
        }
    }
}

#[test]
fn a_lost_address_is_told_by_subnet_env_or_a_peer_that_lives() {
    let plans = plans_with(|plan| plan.pass != Pass::Tables);
    assert_told(&NO_ADDRESS, Severity::Critical, &plans);
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    lose_address(&mut evidence, &plan);
    let finding = judge(&mut evidence).findings.remove(0);
    assert!(finding.title.starts_with("flannel.1 lost its address 10.244.1.0,"));
    assert!(finding.evidence[0].ends_with("2 FDB entries are left"), "{:?}", finding.evidence);
}

#[test]
fn a_lost_address_of_which_nothing_tells_is_not_judged_healthy() {
    for seconds in [0.0, 5.0] {
        let plan = Plan { seconds, ..Plan::of(3, Pass::Tables) };
        let mut evidence = plan.evidence();
        lose_address(&mut evidence, &plan);
        evidence.traffic.iter_mut().for_each(|traffic| traffic.peers.clear());
        assert_not_judged(&mut evidence, "flannel.1 has no address");
    }
}
