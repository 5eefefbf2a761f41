//! Entries of neighbour table and FDB that are there and wrong, and what resembles them.

use super::super::{
    Severity,
    testing::{LO, OVERLAY, PASSES, Pass, Plan, fdb, judge, mac, peer_traffic, tables, told},
};
use crate::evidence::{Evidence, FdbEntry, Losses, StageCounts, Tables};

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

fn point_to_self(evidence: &mut Evidence, plan: &Plan, node: u8) {
    let own = plan.node_ip(plan.own);
    entry_of(tables(evidence), node).destination = Some(own);
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
