//! Every fault breaks what it is said to break, and no more; undone, everything works again.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::net::SocketAddrV4;

use tracer_tests::{
    fault::{self, Fault, Reach},
    lab::{LOCK_WAIT, Lab},
    netns,
    plan::{ECHO_PORT, Plan},
    seed::Shape,
    traffic::Flow,
};

fn lab(seed: u64) -> Lab {
    let shape = Shape { nodes: Some(3), ..Shape::default() };
    Lab::up(Plan::draw(seed, &shape), LOCK_WAIT).unwrap()
}

/// Whether the first pod of one node gets an answer from the first pod of another.
fn reaches(lab: &Lab, from: usize, to: usize) -> bool {
    let pod = |node: usize| lab.plan().nodes[node].first_pod().unwrap();
    let flow = Flow::UdpEcho { to: SocketAddrV4::new(pod(to).ip, ECHO_PORT) };
    lab.answered(&pod(from).namespace, &flow, 2).unwrap() > 0
}

fn assert_breaks_what_it_says(lab: &Lab, fault: &Fault) {
    let (plan, site) = (lab.plan(), lab.plan().site);
    let affected = fault.affected(plan, site);
    for from in plan.all_nodes() {
        for to in plan.others(from) {
            let other_end = if from == site.victim { to } else { from };
            let touches_victim = from == site.victim || to == site.victim;
            let works = fault.reach == Reach::FromOnePeer && from == site.victim;
            let broken = touches_victim && affected.contains(&other_end) && !works;
            assert_eq!(reaches(lab, from, to), !broken, "{}: n{from} to n{to}", fault.name);
        }
    }
}

#[test]
fn every_fault_breaks_what_it_says_and_can_be_undone() {
    for seed in [21, 22] {
        let lab = lab(seed);
        for fault in fault::all() {
            let injection = lab.inject(&fault, lab.plan().site).unwrap();
            assert_breaks_what_it_says(&lab, &fault);
            injection.heal().unwrap();
            lab.wait_connected(&lab.plan().all_nodes())
                .unwrap_or_else(|error| panic!("seed {seed}, {} undone: {error:#}", fault.name));
        }
    }
}

#[test]
fn what_a_fault_leaves_in_the_tables_is_what_tells_it_from_others() {
    let lab = lab(23);
    let (plan, site) = (lab.plan(), lab.plan().site);
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
        let _injection = lab.inject(&fault::named(name).unwrap(), site).unwrap();
        let node = plan.victim();
        let overlay = plan.overlay();
        let count = |program: &str, arguments: &[&str], of: &str| {
            let output = netns::command_in(&node.namespace, program)
                .args(arguments)
                .args(["show", "dev", &overlay])
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap().lines().filter(|it| it.contains(of)).count()
        };
        let left = (
            count("ip", &["route"], "onlink"),
            count("ip", &["neigh"], "PERMANENT"),
            count("bridge", &["fdb"], "dst"),
        );
        assert_eq!(left, (routes, neighbours, fdb), "{name}");
    }
}

#[test]
fn faults_of_one_peer_leave_the_third_node_alone() {
    let plan = Plan::draw(24, &Shape { nodes: Some(3), ..Shape::default() });
    for fault in fault::all() {
        let affected = fault.affected(&plan, plan.site);
        let expected = match fault.reach {
            Reach::Nobody => 0,
            Reach::OnePeer | Reach::FromOnePeer => 1,
            Reach::AllPeers => 2,
        };
        assert_eq!(affected.len(), expected, "{}", fault.name);
        assert!(!affected.contains(&plan.site.victim), "{}", fault.name);
    }
}
