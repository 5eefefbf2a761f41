//! Entries of neighbour table and FDB that are there and wrong, and what resembles them.

use super::super::{
    PeerState, Severity, SubjectKind, exit_status,
    testing::{LO, OVERLAY, PASSES, Pass, Plan, fdb, judge, mac, peer_traffic, tables, told},
};
use crate::evidence::{Evidence, FdbEntry, Losses, MacAddress, StageCounts, Tables};

/// Plans of several sizes, with every amount of intent, with packets and without.
fn plans(sizes: &[u8]) -> Vec<Plan> {
    let mut plans = Vec::new();
    for pass in PASSES {
        for nodes in sizes {
            for seconds in [0.0, 5.0] {
                plans.push(Plan { seconds, ..Plan::of(*nodes, pass) });
            }
        }
    }
    plans
}

/// Packets that pass the overlay device `times` times each, and come no further.
fn lose_after_overlay(evidence: &mut Evidence, plan: &Plan, times: u64) {
    if let Some(traffic) = peer_traffic(evidence, plan.hit_cidr()) {
        let counts = |packets| StageCounts {
            pod_out: packets,
            overlay_out: packets * times,
            wire_in: packets,
            overlay_in: packets,
            pod_in: packets,
            ..StageCounts::default()
        };
        (traffic.packets, traffic.early) = (counts(40), counts(20));
        traffic.lost = Losses { overlay_to_wire: 40 * times, ..Losses::default() };
        traffic.lost_early = Losses { overlay_to_wire: 20 * times, ..Losses::default() };
        traffic.asking_out = 0;
    }
}

fn entry_of(tables: &mut Tables, node: u8) -> &mut FdbEntry {
    tables.fdb.iter_mut().find(|entry| entry.mac == mac(node)).unwrap()
}

/// Writes a neighbour entry anew, just now.
fn set_neighbour(tables: &mut Tables, plan: &Plan, node: u8, mac: MacAddress) {
    let gateway = plan.cidr(node).network();
    let entry = tables.neighbours.iter_mut().find(|entry| entry.address == gateway).unwrap();
    (entry.mac, entry.updated_age) = (Some(mac), Some(60.0));
}

fn point_to_self(evidence: &mut Evidence, plan: &Plan, node: u8) {
    let own = plan.node_ip(plan.own);
    entry_of(tables(evidence), node).destination = Some(own);
}

const WRONG: MacAddress = MacAddress([2, 0, 0, 0, 0xbb, 0xbb]);

fn replace_mac(evidence: &mut Evidence, plan: &Plan) {
    set_neighbour(tables(evidence), plan, plan.hit(), WRONG);
    lose_after_overlay(evidence, plan, 1);
}

/// The neighbour entry of the hit peer gets the MAC of the first one.
fn take_mac_of_another(evidence: &mut Evidence, plan: &Plan) -> u8 {
    let other = plan.peers().next().unwrap();
    set_neighbour(tables(evidence), plan, plan.hit(), mac(other));
    other
}

#[test]
fn an_fdb_entry_that_points_to_this_node() {
    for plan in plans(&[2, 3, 5]) {
        let mut evidence = plan.evidence();
        point_to_self(&mut evidence, &plan, plan.hit());
        lose_after_overlay(&mut evidence, &plan, 63);
        let diagnosis = judge(&mut evidence);
        let expected = format!("fdb-entry-points-to-self {}", plan.hit_cidr());
        assert_eq!(told(&diagnosis), [expected], "{plan:?}");
        let finding = &diagnosis.findings[0];
        assert_eq!(finding.severity, Severity::Critical);
        // This node's own address is never told as the peer's.
        let known = plan.seconds > 0.0 || plan.pass == Pass::PeersFile;
        assert_eq!(finding.subject.peer, known.then(|| plan.node_ip(plan.hit())), "{plan:?}");
    }
}

#[test]
fn every_fdb_entry_points_to_this_node() {
    for plan in plans(&[3]) {
        let mut evidence = plan.evidence();
        for node in plan.peers() {
            point_to_self(&mut evidence, &plan, node);
        }
        evidence.traffic = None;
        let diagnosis = judge(&mut evidence);
        let expected: Vec<String> = plan
            .peers()
            .map(|node| format!("fdb-entry-points-to-self {}", plan.cidr(node)))
            .collect();
        assert_eq!(told(&diagnosis), expected, "{plan:?}");
        assert!(!evidence.roles.uplinks.contains(&LO), "the way to oneself is no uplink");
    }
}

#[test]
fn a_neighbour_entry_with_a_mac_that_the_fdb_does_not_know() {
    for plan in plans(&[2, 3, 5]) {
        let mut evidence = plan.evidence();
        replace_mac(&mut evidence, &plan);
        let diagnosis = judge(&mut evidence);
        let expected = format!("neigh-mac-not-in-fdb {}", plan.hit_cidr());
        assert_eq!(told(&diagnosis), [expected], "{plan:?}");
        let subject = &diagnosis.findings[0].subject;
        assert_eq!(subject.peer, Some(plan.node_ip(plan.hit())), "by the FDB entry left over");
        let known = plan.seconds > 0.0 || plan.pass == Pass::PeersFile;
        assert_eq!(subject.vtep_mac, known.then(|| mac(plan.hit())), "{plan:?}");
        let broken = diagnosis.peers.iter().filter(|peer| peer.state == PeerState::Broken);
        assert_eq!(broken.count(), 1);
    }
}

#[test]
fn both_peers_have_a_wrong_neighbour_entry() {
    for plan in plans(&[3]) {
        let mut evidence = plan.evidence();
        for node in plan.peers() {
            set_neighbour(tables(&mut evidence), &plan, node, MacAddress([2, 0, 0, 0, 0xbb, node]));
        }
        evidence.traffic = None;
        let expected = [0, 2].map(|node| format!("neigh-mac-not-in-fdb {}", plan.cidr(node)));
        assert_eq!(told(&judge(&mut evidence)), expected, "{plan:?}");
    }
}

#[test]
fn a_missing_fdb_entry_beside_one_that_is_left_over_of_another_peer() {
    // One peer lost its FDB entry, the other its neighbour entry: the FDB entry that no neighbour
    // uses belongs to the other. Only intent or packets tell.
    for plan in plans(&[3]) {
        let mut evidence = plan.evidence();
        let other = plan.cidr(0).network();
        tables(&mut evidence).neighbours.retain(|entry| entry.address != other);
        tables(&mut evidence).fdb.retain(|entry| entry.mac != mac(plan.hit()));
        lose_after_overlay(&mut evidence, &plan, 1);
        let diagnosis = judge(&mut evidence);
        let neighbour = format!("neigh-entry-missing {}", plan.cidr(0));
        if plan.pass == Pass::PeersFile || plan.seconds > 0.0 {
            let fdb = format!("fdb-entry-missing {}", plan.hit_cidr());
            assert_eq!(told(&diagnosis), [fdb, neighbour], "{plan:?}");
        } else {
            assert_eq!(told(&diagnosis), [neighbour], "{plan:?}");
            let line = "whether the neighbour entry or the FDB entry of 10.244.2.0/24 is wrong";
            assert!(diagnosis.unseen.iter().any(|it| it.starts_with(line)), "{diagnosis:?}");
        }
    }
}

#[test]
fn a_missing_fdb_entry_of_a_peer_that_changed_its_mac_once() {
    // Its old entry is still there, and its neighbour entry has the new MAC: a peers file or its
    // own packets say that the new one is right.
    for plan in plans(&[2, 3]) {
        let mut evidence = plan.evidence();
        let entries = &mut tables(&mut evidence).fdb;
        entries.retain(|entry| entry.mac != mac(plan.hit()));
        entries.push(fdb(mac(90), plan.node_ip(plan.hit())));
        lose_after_overlay(&mut evidence, &plan, 1);
        let known = plan.pass == Pass::PeersFile || plan.seconds > 0.0;
        let code = if known { "fdb-entry-missing" } else { "neigh-mac-not-in-fdb" };
        let expected = format!("{code} {}", plan.hit_cidr());
        assert_eq!(told(&judge(&mut evidence)), [expected], "{plan:?}");
    }
}

#[test]
fn a_neighbour_entry_with_the_mac_of_another_peer() {
    for plan in plans(&[3, 5]) {
        let mut evidence = plan.evidence();
        take_mac_of_another(&mut evidence, &plan);
        let diagnosis = judge(&mut evidence);
        let expected = format!("neigh-entry-wrong-peer {}", plan.hit_cidr());
        assert_eq!(told(&diagnosis), [expected], "{plan:?}");
        assert_eq!(diagnosis.findings[0].severity, Severity::Warning);
        assert_eq!(exit_status(&diagnosis, &evidence, Severity::Warning), 1);
        let subject = &diagnosis.findings[0].subject;
        assert_eq!(subject.vtep_mac.filter(|it| *it != mac(plan.hit())), None, "{plan:?}");
        let known = plan.seconds > 0.0 || plan.pass == Pass::PeersFile;
        assert_eq!(subject.peer, known.then(|| plan.node_ip(plan.hit())), "{plan:?}");
        let broken = diagnosis.peers.iter().any(|peer| peer.state == PeerState::Broken);
        assert!(!broken, "everything works: {plan:?}");
    }
}

#[test]
fn packets_tell_whose_neighbour_entry_has_the_mac_of_another_whatever_the_ages() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    let other = take_mac_of_another(&mut evidence, &plan);
    // Answers take the detour: they come from the other node, with its MAC.
    let node = plan.node_ip(other);
    let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
    (traffic.outer_source, traffic.inner_source_mac) = (Some(node), Some(mac(other)));
    for entry in &mut tables(&mut evidence).neighbours {
        entry.updated_age = Some(1000.0);
    }
    let hit = format!("neigh-entry-wrong-peer {}", plan.hit_cidr());
    assert_eq!(told(&judge(&mut evidence)), [hit]);
    evidence.traffic = None;
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), ["neigh-entry-wrong-peer flannel.1"]);
    assert_eq!(diagnosis.findings[0].subject.kind, SubjectKind::Interface);
}

#[test]
fn two_peers_that_really_have_one_mac_are_no_wrong_neighbour_entry() {
    for plan in plans(&[3]) {
        let mut evidence = plan.evidence();
        let other = take_mac_of_another(&mut evidence, &plan);
        tables(&mut evidence).fdb.retain(|entry| entry.mac != mac(plan.hit()));
        for peer in &mut evidence.intent.peers {
            peer.vtep_mac = Some(mac(other));
        }
        let diagnosis = judge(&mut evidence);
        assert_eq!(told(&diagnosis), [""; 0], "{plan:?}");
        let line = "which of 10.244.0.0/24 and 10.244.2.0/24 has the MAC";
        assert!(diagnosis.unseen.iter().any(|it| it.starts_with(line)), "{diagnosis:?}");
    }
}

#[test]
fn old_fdb_entries_of_this_nodes_own_address_and_of_gone_peers_are_healthy() {
    for plan in plans(&[2, 3]) {
        let mut evidence = plan.evidence();
        tables(&mut evidence).fdb.push(fdb(mac(90), plan.node_ip(plan.own)));
        tables(&mut evidence).fdb.push(fdb(mac(91), plan.node_ip(99)));
        tables(&mut evidence)
            .fdb
            .push(FdbEntry { ifindex: OVERLAY + 50, ..fdb(mac(92), plan.node_ip(plan.own)) });
        assert_eq!(told(&judge(&mut evidence)), [""; 0], "{plan:?}");
    }
}
