//! What waits to leave a node and does not: each told by the node that has it and by no other. These
//! need traffic of their own.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use tracer_tests::{
    fault::{self, Injection, filter::Chain},
    lab::{LOCK_WAIT, Lab},
    plan::{Family, Plan, SYSLOG_PORT, Stack},
    script::{Script, Tool},
    seed::Shape,
    size,
    told::{Told, in_labs, wrong, wrong_by_drops},
    traffic::{Flow, Limits, Sender, Traffic},
};

/// Bytes of a datagram that is as good as full.
const FULL: usize = 1200;
/// Headers of UDP and of IP.
const HEADERS: [(Family, usize); 2] = [(Family::V4, 28), (Family::V6, 48)];

fn lab(seed: u64, stack: Stack) -> Lab {
    let shape = Shape { nodes: Some(3), stack, ..Shape::default() };
    Lab::up(Plan::draw(seed, &shape), LOCK_WAIT).unwrap()
}

/// Datagrams that nobody answers, from a pod of the victim to one of the peer.
fn datagrams(plan: &Plan, family: Family, size: usize, rate: f64) -> Traffic {
    let (from, to) = (plan.victim().first_pod().unwrap(), plan.peer().first_pod().unwrap());
    let flow = Flow::UdpOneWay { to: to.at(family, SYSLOG_PORT), size };
    let limits = Limits::steady(rate);
    Traffic::start(vec![Sender { namespace: from.namespace.clone(), flow, limits }])
}

/// What is wrong with the answers of all nodes, of which the victim alone has something to tell:
/// other things where nothing says whose packets were dropped.
fn complaints(lab: &Lab, expected: &[Told<'_>], unread: &[Told<'_>]) -> String {
    let plan = lab.plan();
    let told = plan.all_nodes().into_iter().map(|node| match node == plan.site.victim {
        true => wrong_by_drops(lab, node, expected, unread),
        false => wrong(lab, node, &[]),
    });
    told.collect()
}

/// A shaper on the victim's uplink, until it is dropped.
fn shape(plan: &Plan, limits: &str) -> Injection {
    let victim = plan.victim();
    let tc = |line: String| Script::new(Tool::Tc, Some(&victim.namespace), [line]);
    let with = tc(format!("qdisc add dev {} root tbf {limits}", victim.uplink));
    let without = tc(format!("qdisc del dev {} root", victim.uplink));
    Injection::apply(&[with], vec![without]).unwrap()
}

/// A shaper has no room for a flood of datagrams, and so for what else leaves.
#[test]
fn a_queue_that_is_full_is_told_where_it_is() {
    in_labs(
        |stack| lab(440, stack),
        |lab, family| {
            let plan = lab.plan();
            let _traffic = lab.traffic_all_pairs();
            let _flood = datagrams(plan, family, FULL, size::of(400.0, 100.0));
            let rate = size::of("2mbit", "400kbit");
            let _shaper = shape(plan, &format!("rate {rate} burst 5kb limit 20kb"));
            complaints(lab, &[("uplink-queue-overlimit", &plan.victim().uplink)], &[])
        },
    )
    .unwrap();
}

/// A shaper that is wide enough drops nothing.
#[test]
fn a_queue_with_room_is_healthy() {
    in_labs(
        |stack| lab(441, stack),
        |lab, _| {
            let _traffic = lab.traffic_all_pairs();
            let _shaper = shape(lab.plan(), "rate 100mbit burst 100kb limit 1mb");
            complaints(lab, &[], &[])
        },
    )
    .unwrap();
}

/// Pods have a larger MTU than the tunnel, which harms nobody until the ICMP errors are dropped.
#[test]
fn large_packets_whose_errors_are_dropped_are_told_where_they_end() {
    in_labs(
        |stack| lab(442, stack),
        |lab, family| {
            let plan = lab.plan();
            let victim = plan.victim();
            let large = fault::named("pod-mtu-larger-than-tunnel").unwrap();
            let _large = lab.inject(&large, plan.site).unwrap();
            let _traffic = lab.traffic_all_pairs();
            let (_, headers) = HEADERS.into_iter().find(|(it, _)| *it == family).unwrap();
            let size = plan.lan.mtu as usize - headers;
            let _datagrams = datagrams(plan, family, size, 20.0);
            let large = [("pod-mtu-larger-than-tunnel", victim.bridge.as_str())];
            let mut told = complaints(lab, &large, &large);
            let _blocked = block_errors(plan, family);
            // What the pod has learned before goes with its routes.
            let flush = "route flush cache".to_owned();
            let pod = &victim.first_pod().unwrap().namespace;
            Script::ip_of(family, pod, [flush]).run().unwrap();
            told.push_str(&complaints(lab, &[("pmtud-icmp-blocked", &victim.name)], &large));
            told
        },
    )
    .unwrap();
}

/// A firewall of the victim lets no ICMP error of this kind out.
fn block_errors(plan: &Plan, family: Family) -> Injection {
    let error = match family {
        Family::V4 => "icmp type destination-unreachable icmp code frag-needed",
        Family::V6 => "icmpv6 type packet-too-big",
    };
    Chain::inet("output").dropping(plan.victim(), error).unwrap()
}
