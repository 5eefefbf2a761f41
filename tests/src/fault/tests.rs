//! What holds of every fault, whatever it is.

use std::{collections::HashSet, net::IpAddr};

use super::*;
use crate::{netns, seed::Shape};

fn plan(nodes: usize) -> Plan {
    plan_of(nodes, Stack::V4)
}

fn plan_of(nodes: usize, stack: Stack) -> Plan {
    Plan::draw(5, &Shape { nodes: Some(nodes), stack, ..Shape::default() })
}

#[test]
fn names_are_unique_and_begin_with_their_code() {
    let names: HashSet<&str> = all().iter().map(|fault| fault.name).collect();
    assert_eq!(names.len(), all().len());
    assert!(all().iter().all(|fault| fault.name.starts_with(fault.code)));
}

#[test]
fn every_fault_breaks_the_victim_and_can_be_healed() {
    let plan = plan_of(3, Stack::Dual);
    for family in plan.families() {
        let site = Site { family: *family, ..plan.site };
        for fault in all().iter().filter(|fault| fault.suits(site)) {
            assert_breaks_the_victim(fault, &plan, site);
            assert!(!fault.healing(&plan, site).unwrap().is_empty(), "{}", fault.name);
        }
    }
}

fn assert_breaks_the_victim(fault: &Fault, plan: &Plan, site: Site) {
    let broken = (fault.breaks)(plan, site);
    assert!(broken.iter().any(|script| !script.lines.is_empty()), "{}", fault.name);
    let victim = plan.victim();
    let its: Vec<&String> = victim.pods.iter().map(|pod| &pod.namespace).collect();
    let at_victim = |script: &Script| {
        let namespace = script.namespace.as_ref().unwrap();
        let is_of_lan = |line: &String| {
            let states = [" nud failed", " nud reachable", " nud probe"];
            states.iter().any(|it| line.ends_with(it)) || line.contains("/neigh/")
        };
        *namespace == victim.namespace
            || its.contains(&namespace)
            || namespace == netns::SWITCH
            || script.lines.iter().all(is_of_lan)
    };
    assert!(broken.iter().all(at_victim), "{}", fault.name);
}

/// What strikes one family names nothing of the other.
#[test]
fn a_fault_of_one_family_leaves_the_other_alone() {
    let plan = plan_of(3, Stack::Dual);
    for (family, other) in [(Family::V4, Family::V6), (Family::V6, Family::V4)] {
        let site = Site { family, ..plan.site };
        let alone = |fault: &&Fault| fault.strikes == Strikes::OneFamily && fault.suits(site);
        for fault in all().iter().filter(alone) {
            let scripts = [(fault.breaks)(&plan, site), (fault.heals)(&plan, site)].concat();
            // Neighbours on the LAN are given up and remembered in both.
            let lines =
                scripts.iter().filter(|it| it.namespace == Some(plan.victim().namespace.clone()));
            let overlay = plan.overlay(other);
            let names = |line: &String| {
                let mut words = line.split([' ', '/']);
                let is_of_other =
                    |word: &str| word.parse().is_ok_and(|ip: IpAddr| Family::from(ip) == other);
                // An uplink's MTU concerns both: the other device follows it, and stays healthy.
                let follows = line.contains(" mtu ");
                !follows && words.any(|word| word == overlay || is_of_other(word))
            };
            for script in lines {
                assert!(!script.lines.iter().any(names), "{}: {script:?}", fault.name);
            }
        }
    }
}

#[test]
fn a_fault_that_concerns_a_peer_is_refused_in_a_lab_of_one_node() {
    let plan = plan(1);
    let error = named("fdb-entry-missing").unwrap().healing(&plan, plan.site).unwrap_err();
    assert!(error.to_string().contains("--nodes 2"), "{error}");
    assert!(named("cni0-down").unwrap().healing(&plan, plan.site).is_ok());
}

#[test]
fn a_site_outside_the_lab_is_refused() {
    let site = Site { victim: 7, peer: 0, family: Family::V4 };
    let error = named("cni0-down").unwrap().healing(&plan(2), site).unwrap_err();
    assert!(error.to_string().contains("no n8"), "{error}");
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let error = named("nonsense").unwrap_err().to_string();
    assert!(error.contains("pod-route-missing") && error.contains("cni0-down"), "{error}");
}
