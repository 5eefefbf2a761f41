//! Faults of flannel's device that leave it up: emptied, without its address, with another MAC.

use super::{
    super::{
        Confidence, PeerState, Severity, diagnose, exit_status,
        testing::{
            OVERLAY, PASSES, Pass, Plan, UPLINK, judge, judge_ipv4, mac, neighbour, tables, told,
            twin, via,
        },
    },
    faults::{Fault, assert_not_judged, assert_told, plans},
    injections::lose_neighbour,
};
use crate::{
    evidence::{Evidence, MacAddress, NeighbourState, StageCounts, Stranger},
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

/// The kernel takes the neighbours with the MAC; what the peers send is for the old one.
fn rewrite_mac(evidence: &mut Evidence, _: &Plan) {
    set_mac(evidence, mac(99));
    let tables = tables(evidence);
    tables.neighbours.retain(|it| it.ifindex != OVERLAY || it.address.is_ipv6());
    for peer in evidence.traffic.iter_mut().flat_map(|traffic| &mut traffic.peers) {
        peer.packets = StageCounts { pod_out: 40, wire_in: 40, ..StageCounts::default() };
        peer.early = StageCounts { pod_out: 20, wire_in: 20, ..StageCounts::default() };
        (peer.lost.pod_to_overlay, peer.lost_early.pod_to_overlay) = (40, 20);
        (peer.lost.wire_to_overlay, peer.lost_early.wire_to_overlay) = (40, 20);
    }
}

fn set_mac(evidence: &mut Evidence, mac: MacAddress) {
    let links = &mut tables(evidence).links;
    links.iter_mut().find(|link| link.index == OVERLAY).unwrap().mac = Some(mac);
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
const OTHER_MAC: [Fault; 1] =
    [("MAC rewritten", rewrite_mac, |plan| format!("flannel-mac-rewritten {}", plan.overlay))];

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
    for plan in plans_with(|plan| plan.pass != Pass::Tables) {
        let mut evidence = plan.evidence();
        lose_address(&mut evidence, &plan);
        meet_strangers(&mut evidence, &plan);
        let diagnosis = judge_ipv4(&mut evidence);
        assert_eq!(told(&diagnosis), ["flannel-address-missing flannel.1"], "{plan:?}");
        assert_eq!(diagnosis.findings[0].severity, Severity::Critical);
        // An IPv6 device that went down and up looks so; that its peers live must be seen.
        let of_ipv6 = told(&diagnose(&twin(&evidence).unwrap()));
        let is_sure = plan.seconds > 0.0 || plan.pass == Pass::PeersFile;
        let expected = is_sure.then_some("flannel-link-flapped-state-lost flannel-v6.1");
        assert_eq!(of_ipv6, Vec::from_iter(expected), "{plan:?}");
    }
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    lose_address(&mut evidence, &plan);
    let finding = judge_ipv4(&mut evidence).findings.remove(0);
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

#[test]
fn a_rewritten_mac_is_told_by_the_link_local_address() {
    assert_told(&OTHER_MAC, Severity::Critical, &plans());
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    rewrite_mac(&mut evidence, &plan);
    let diagnosis = judge(&mut evidence);
    let finding = &diagnosis.findings[0];
    assert!(finding.title.ends_with("from 1e:2d:3e:4f:50:61 to 0a:00:00:00:07:63"));
    assert_eq!(finding.since.not_before, "2026-01-01T11:43:19Z".parse().ok());
    let entries = finding.breaks.iter().filter(|it| it.starts_with("neighbour entry of")).count();
    assert_eq!(entries, 2, "{:?}", finding.breaks);
    assert!(diagnosis.peers.iter().all(|peer| peer.state == PeerState::Broken));
}

#[test]
fn without_proof_of_another_mac_the_neighbours_are_missing() {
    for pass in PASSES {
        for address in ["fe80::5c9b:1f2e:8a77:1234", "fe80::800:ff:fe00:763"] {
            let plan = Plan::of(2, pass);
            let mut evidence = plan.evidence();
            rewrite_mac(&mut evidence, &plan);
            let addresses = &mut tables(&mut evidence).addresses;
            let v6 = addresses.iter_mut().find(|it| it.address.is_ipv6()).unwrap();
            v6.address = address.parse().unwrap();
            evidence.traffic = None;
            let expected = [format!("neigh-entry-missing {}", plan.hit_cidr())];
            assert_eq!(told(&judge(&mut evidence)), expected, "{address}");
        }
    }
}

#[test]
fn a_file_that_names_this_node_knows_its_mac_best() {
    let plan = Plan { seconds: 0.0, ..Plan::of(3, Pass::PeersFile) };
    for (announced, expected) in [(mac(99), 2), (mac(98), 1)] {
        let mut evidence = plan.evidence();
        rewrite_mac(&mut evidence, &plan);
        let mut own = plan.peer_intent(plan.own);
        own.vtep_mac = Some(announced);
        evidence.intent.peers.push(own);
        let diagnosis = judge(&mut evidence);
        assert_eq!(diagnosis.findings.len(), expected, "{:?}", told(&diagnosis));
        let code = diagnosis.findings[0].code;
        assert_eq!(code == "flannel-mac-rewritten", expected == 1, "{code}");
    }
}

#[test]
fn one_neighbour_that_is_missing_beside_others_is_no_matter_of_the_mac() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    set_mac(&mut evidence, mac(99));
    lose_neighbour(&mut evidence, &plan);
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), [format!("neigh-entry-missing {}", plan.hit_cidr())]);
    assert_eq!(diagnosis.findings[0].confidence, Confidence::Certain);
}

#[test]
fn requests_that_nobody_answers_are_no_neighbours() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    rewrite_mac(&mut evidence, &plan);
    for node in plan.peers() {
        let mut entry = neighbour(OVERLAY, plan.cidr(node).network(), mac(node));
        (entry.mac, entry.state) = (None, NeighbourState::Failed);
        tables(&mut evidence).neighbours.push(entry);
    }
    assert_eq!(told(&judge(&mut evidence)), ["flannel-mac-rewritten flannel.1"]);
}
