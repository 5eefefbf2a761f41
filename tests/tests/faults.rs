//! Every fault breaks what it is said to break, and no more; undone, everything works again.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{env, time::Duration};

use anyhow::ensure;
use tracer_tests::{
    fault::{self, Fault, Reach},
    lab::{LOCK_WAIT, Lab},
    netns,
    plan::{ECHO_PORT, Family, Plan, Site, Stack, UplinkKind},
    poll::poll_until,
    sample::{OF_LAB, Sample},
    seed::Shape,
    traffic::Flow,
};

/// Only faults whose names hold the text of this variable, for whoever works on one of them.
const ONLY: &str = "FLANNEL_TRACER_TEST_FAULT";
/// How long a fault may take to work.
const PATIENCE: Duration = Duration::from_secs(3);
/// Where not all faults are played, one of so many is on TUN uplinks too.
const TUN_SHARE: usize = 4;
const STACKS: [Stack; 3] = [Stack::V4, Stack::V6, Stack::Dual];

fn lab(seed: u64, stack: Stack) -> Lab {
    lab_of(seed, stack, UplinkKind::Ethernet)
}

fn lab_of(seed: u64, stack: Stack, uplink: UplinkKind) -> Lab {
    let shape = Shape { nodes: Some(3), stack, uplink, ..Shape::default() };
    Lab::up(Plan::draw(seed, &shape), LOCK_WAIT).unwrap()
}

/// Whether the first pod of one node gets an answer from the first pod of another.
fn reaches(lab: &Lab, from: usize, to: usize, family: Family) -> bool {
    let pod = |node: usize| lab.plan().nodes[node].first_pod().unwrap();
    let flow = Flow::UdpEcho { to: pod(to).at(family, ECHO_PORT) };
    lab.answered(&pod(from).namespace, &flow, 2).unwrap() > 0
}

fn assert_breaks_what_it_says(lab: &Lab, fault: &Fault, site: Site) {
    let plan = lab.plan();
    let (affected, struck) = (fault.affected(plan, site), fault.struck(plan, site));
    for from in plan.all_nodes() {
        for to in plan.others(from) {
            let other_end = if from == site.victim { to } else { from };
            let touches_victim = from == site.victim || to == site.victim;
            let works = fault.reach == Reach::FromOnePeer && from == site.victim;
            let cut_off = touches_victim && affected.contains(&other_end) && !works;
            for family in plan.families() {
                let broken = cut_off && struck.contains(family);
                let is_right = || {
                    let works = reaches(lab, from, to, *family);
                    let (name, way) = (fault.name, format!("n{from} to n{to}, {family:?}"));
                    ensure!(works != broken, "{name} of {site:?}: {way}: works: {works}");
                    Ok(())
                };
                // The kernel takes up to a second to notice a carrier (net/core/link_watch.c).
                let patience = if broken { PATIENCE } else { Duration::ZERO };
                poll_until("what the fault does", patience, is_right).unwrap();
            }
        }
    }
}

/// In a lab of both families each is struck in its turn.
fn sites(plan: &Plan) -> Vec<Site> {
    plan.families().iter().map(|family| Site { family: *family, ..plan.site }).collect()
}

#[test]
fn every_fault_breaks_what_it_says_and_can_be_undone() {
    let share = Sample::of_environment(OF_LAB).unwrap();
    // A lab of both families shows each of them.
    let labs = [(25, Stack::Dual), (21, Stack::V4), (22, Stack::V6)];
    let number_of_labs = if share.seed.is_some() { 1 } else { labs.len() };
    for (seed, stack) in labs.into_iter().take(number_of_labs) {
        break_and_heal(&lab(seed, stack), &share, 1);
    }
}

/// Uplinks without Ethernet: other routes go with an address or a device that is down.
#[test]
fn every_fault_of_tun_uplinks_breaks_what_it_says_and_can_be_undone() {
    let share = Sample::of_environment(OF_LAB).unwrap();
    break_and_heal(&lab_of(27, Stack::Dual, UplinkKind::Tun), &share, TUN_SHARE);
}

/// Plays one in `most` of a share's faults that such a lab can have.
fn break_and_heal(lab: &Lab, share: &Sample, most: usize) {
    let only = env::var(ONLY).unwrap_or_default();
    for (index, fault) in share.faults.iter().enumerate() {
        let is_possible = fault.not_in(lab.plan()).is_none() && fault.name.contains(&only);
        if !is_possible || !share.has_turn(index, most) {
            continue;
        }
        for site in sites(lab.plan()).into_iter().filter(|site| fault.suits(*site)) {
            let injection = lab.inject(fault, site).unwrap();
            assert_breaks_what_it_says(lab, fault, site);
            injection.heal().unwrap();
            lab.wait_connected(&lab.plan().all_nodes())
                .unwrap_or_else(|error| panic!("{} of {site:?} undone: {error:#}", fault.name));
        }
    }
}

#[test]
fn a_fault_is_refused_in_a_family_that_does_not_have_it() {
    let lab = lab(26, Stack::V6);
    let bridge = fault::named("ip-forward-off-bridge").unwrap();
    let error = lab.inject(&bridge, lab.plan().site).unwrap_err().to_string();
    assert!(error.contains("does not exist in IPv6"), "{error}");
    let site = Site { family: Family::V4, ..lab.plan().site };
    let error = lab.inject(&bridge, site).unwrap_err().to_string();
    assert!(error.contains("does not speak IPv4"), "{error}");
}

#[test]
fn what_a_fault_leaves_in_the_tables_is_what_tells_it_from_others() {
    for stack in STACKS {
        let lab = lab(23, stack);
        for site in sites(lab.plan()) {
            assert_leaves_its_traces(&lab, site);
        }
    }
}

fn assert_leaves_its_traces(lab: &Lab, site: Site) {
    let (plan, family) = (lab.plan(), site.family);
    let peers = plan.nodes.len() - 1;
    for (name, routes, neighbours, fdb) in [
        ("pod-route-missing", peers - 1, peers, peers),
        ("flannel-link-down", 0, 0, peers),
        ("flannel-link-flapped-state-lost", 0, 0, peers),
        ("flannel-link-recreated-empty", 0, 0, 0),
        ("flannel-address-missing", 0, 0, peers),
        ("flannel-mac-rewritten", peers, 0, peers),
        ("fdb-entry-missing", peers, peers, peers - 1),
        ("neigh-entry-missing", peers, peers - 1, peers),
        ("cni0-down", peers, peers, peers),
    ] {
        let fault = fault::named(name).unwrap();
        if !fault.suits(site) {
            continue;
        }
        let _injection = lab.inject(&fault, site).unwrap();
        let node = plan.victim();
        let overlay = plan.overlay(family);
        let count = |program: &str, arguments: &[&str], of: &str| {
            let output = netns::command_in(&node.namespace, program)
                .args(arguments)
                .args(["show", "dev", &overlay])
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap().lines().filter(|it| it.contains(of)).count()
        };
        let version = if family == Family::V4 { "-4" } else { "-6" };
        let left = (
            count("ip", &[version, "route"], "onlink"),
            count("ip", &[version, "neigh"], "PERMANENT"),
            count("bridge", &["fdb"], "dst"),
        );
        assert_eq!(left, (routes, neighbours, fdb), "{name}, {family:?}");
    }
}

#[test]
fn faults_of_one_peer_leave_the_third_node_alone() {
    let plan = Plan::draw(24, &Shape { nodes: Some(3), ..Shape::default() });
    for fault in fault::all() {
        let affected = fault.affected(&plan, plan.site);
        let expected = match fault.reach {
            Reach::Nobody | Reach::OnePod => 0,
            Reach::OnePeer | Reach::FromOnePeer => 1,
            Reach::AllPeers => 2,
        };
        assert_eq!(affected.len(), expected, "{}", fault.name);
        assert!(!affected.contains(&plan.site.victim), "{}", fault.name);
    }
}
