//! What holds for every plan.

use proptest::prelude::*;

use super::super::{
    diagnose,
    testing::{OVERLAY, Plan, judge, mac, tables, told},
};
use crate::evidence::Evidence;

/// Reverses or rotates every list whose order means nothing.
fn shuffle(evidence: &mut Evidence, by: usize) {
    fn turn<T>(list: &mut [T], by: usize) {
        list.reverse();
        if !list.is_empty() {
            let by = by % list.len();
            list.rotate_left(by);
        }
    }
    let tables = tables(evidence);
    turn(&mut tables.links, by);
    turn(&mut tables.addresses, by);
    turn(&mut tables.rules, by);
    turn(&mut tables.routes, by);
    turn(&mut tables.neighbours, by);
    turn(&mut tables.fdb, by);
    turn(&mut tables.answers, by);
    turn(&mut evidence.intent.peers, by);
    turn(&mut evidence.hooks, by);
    if let Some(traffic) = &mut evidence.traffic {
        turn(&mut traffic.peers, by);
        turn(&mut traffic.flows, by);
    }
}

/// Takes one entry of the last peer away, or nothing.
fn break_one(evidence: &mut Evidence, plan: &Plan, which: u8) {
    if plan.nodes < 2 {
        return;
    }
    let (cidr, hit) = (plan.hit_cidr(), mac(plan.hit()));
    let tables = tables(evidence);
    match which {
        0 => tables.routes.retain(|route| route.destination != cidr),
        1 => tables.neighbours.retain(|entry| entry.address != cidr.network()),
        2 => tables.fdb.retain(|entry| entry.mac != hit),
        3 => {
            tables.links.iter_mut().filter(|it| it.index == OVERLAY).for_each(|it| it.up = false);
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn healthy_clusters_give_no_finding(plan in Plan::strategy()) {
        let mut evidence = plan.evidence();
        let diagnosis = judge(&mut evidence);
        prop_assert_eq!(told(&diagnosis), Vec::<String>::new());
        prop_assert_eq!(diagnosis.peers.len(), usize::from(plan.nodes) - 1);
    }

    #[test]
    fn one_broken_entry_gives_one_finding(plan in Plan::strategy(), which in 0..4_u8) {
        prop_assume!(plan.nodes > 1);
        let mut evidence = plan.evidence();
        break_one(&mut evidence, &plan, which);
        prop_assert_eq!(judge(&mut evidence).findings.len(), 1);
    }

    #[test]
    fn the_order_of_entries_changes_nothing(
        plan in Plan::strategy(), which in 0..5_u8, by in 0..7_usize,
    ) {
        let mut evidence = plan.evidence();
        break_one(&mut evidence, &plan, which);
        let before = judge(&mut evidence);
        shuffle(&mut evidence, by);
        prop_assert_eq!(diagnose(&evidence), before);
    }

    #[test]
    fn saved_evidence_gives_the_same_findings(plan in Plan::strategy(), which in 0..5_u8) {
        let mut evidence = plan.evidence();
        break_one(&mut evidence, &plan, which);
        let before = judge(&mut evidence);
        let saved = serde_json::to_string(&evidence).unwrap();
        let loaded: Evidence = serde_json::from_str(&saved).unwrap();
        prop_assert_eq!(&loaded, &evidence);
        prop_assert_eq!(diagnose(&loaded), before);
    }
}
