//! Nodes that reach each other by TUN devices, as with a VPN: nothing is found where nothing is
//! wrong, every fault is told where it is and nothing else anywhere, with every intent and every
//! way to attach. What the stages count there is in `stages`.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    env, fs,
    io::{self, Write as _},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Result, ensure};
use tracer_tests::{
    expect::Injected,
    fault::{self, Fault},
    healthy,
    lab::{LOCK_WAIT, Lab},
    matrix::Case,
    netns,
    plan::{Family, Plan, Stack, UplinkKind},
    poll::poll_until,
    sample::{OF_LAB, Sample},
    seed::Shape,
    size,
    tracer::CheckOutput,
    traffic::{self, Flow, Limits, Traffic},
};

/// How long each check looks.
const WINDOW: [&str; 2] = ["3s", "5s"];
/// How long a change of the lab may take to be seen.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of each of a lab's senders, a second: none may wait for its answer longer than
/// [`traffic::ANSWER_TIMEOUT`].
const RATE: [f64; 2] = [50.0, 1.0];
/// Answers to five questions where programs are interpreted and one may wait too long all the same.
const ENOUGH: u64 = 3;
/// What tailscaled gives its device, bytes.
const MTU: u32 = 1280;
/// What wg-quick gives its device. With tailscaled's there is no tunnel over IPv6: its device would
/// have less than the 1280 bytes without which a device speaks no IPv6 (RFC 8200).
const MTU_FOR_V6: u32 = 1420;
/// Only faults whose names hold the text of this variable, for whoever works on one of them.
const ONLY: &str = "FLANNEL_TRACER_TEST_FAULT";
/// What every change plays, `cargo xtask test --all` plays all: faults of the uplink itself. Those of
/// the overlay, which know nothing of the uplink, are in `uplinks` too.
const FAULTS: [&str; 3] = ["uplink-down", "uplink-down-no-carrier", "l3-uplink-daemon-stuck"];

fn lab(seed: u64, nodes: usize) -> Lab {
    lab_of(seed, nodes, Stack::V4)
}

fn lab_of(seed: u64, nodes: usize, stack: Stack) -> Lab {
    let uplink_mtu = if stack == Stack::V4 { MTU } else { MTU_FOR_V6 };
    let uplink = UplinkKind::Tun;
    let shape = Shape { nodes: Some(nodes), stack, uplink, uplink_mtu, ..Shape::default() };
    Lab::up(Plan::draw(seed, &shape), LOCK_WAIT).unwrap()
}

/// Runs all cases and holds every answer against `judge`; gives one line for each that is wrong.
fn complaints(lab: &Lab, judge: impl Fn(&Case, &CheckOutput) -> Result<()>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let share = Sample::of_environment(OF_LAB).unwrap();
    let cases = Case::of_share(&lab.plan().all_nodes(), &share);
    let answers = lab.check_cases(&cases, size::of(WINDOW[0], WINDOW[1]), folder.path());
    let wrong = cases.iter().zip(answers).filter_map(|(case, answer)| {
        let error = answer.and_then(|answer| judge(case, &answer)).err()?;
        Some(format!("seed {}, {case}: {error:#}\n", lab.plan().seed))
    });
    wrong.collect()
}

/// Past the capture of the test harness: these lines are for the reader of a passing run too.
fn say(text: &str) {
    io::stderr().write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_healthy_cluster_has_no_finding_and_every_peer_is_ok() {
    let wrong = healthy_complaints(&lab(501, 3));
    assert!(wrong.is_empty(), "\n{wrong}");
}

fn healthy_complaints(lab: &Lab) -> String {
    let _traffic = lab.traffic_all_pairs();
    let nodes = lab.plan().all_nodes();
    complaints(lab, |case, answer| healthy::judge(lab.plan(), &nodes, case.node, answer))
}

/// Its peers are ok only when packets were seen both ways.
#[test]
fn a_healthy_cluster_of_ipv6_and_of_both_is_seen_too() {
    for (seed, stack) in [(505, Stack::V6), (506, Stack::Dual)] {
        let lab = lab_of(seed, 3, stack);
        let wrong = healthy_complaints(&lab);
        assert!(wrong.is_empty(), "\n{wrong}");
    }
}

#[test]
fn labs_of_every_stack_carry_all_traffic() {
    for (seed, stack) in [(507, Stack::V4), (508, Stack::V6), (509, Stack::Dual)] {
        let lab = lab_of(seed, 3, stack);
        let mut senders = traffic::all_pairs(lab.plan(), &lab.plan().all_nodes());
        for sender in &mut senders {
            sender.limits = Limits::exactly(5, size::of(RATE[0], RATE[1]));
        }
        for (sender, counts) in Traffic::start(senders).finish().unwrap() {
            let is_carried = counts.sent == 5 && counts.answered >= size::of(5, ENOUGH);
            assert!(is_carried, "{sender:?}: {counts:?}");
        }
        assert_speaks(lab.plan());
    }
}

/// The nodes have one address of the LAN in each family, alone on its link, and none in others.
fn assert_speaks(plan: &Plan) {
    for node in &plan.nodes {
        for (family, version) in [(Family::V4, "-4"), (Family::V6, "-6")] {
            let show = [version, "-br", "addr", "show", "dev", &node.uplink, "scope", "global"];
            let shown = netns::command_in(&node.namespace, "ip").args(show).output().unwrap();
            let shown = String::from_utf8(shown.stdout).unwrap();
            let address = format!("{}/{}", node.ip.of(family), family.bits());
            let words: Vec<&str> = shown.split_whitespace().skip(2).collect();
            let is_spoken = plan.families().contains(&family);
            assert_eq!(words, if is_spoken { vec![address.as_str()] } else { vec![] });
        }
    }
}

#[test]
fn a_fault_is_told_where_it_is_and_nothing_else_anywhere() {
    let share = Sample::of_environment(OF_LAB).unwrap();
    // An interpreted lab takes most of a minute for each, and the suite `smoke` plays them all there.
    let is_all = share.faults.len() == fault::all().len() && !size::is_small();
    let only = env::var(ONLY).unwrap_or_default();
    let is_played = |fault: &Fault| {
        let is_drawn = is_all || FAULTS.contains(&fault.name);
        is_drawn && fault.ethernet_only.is_none() && fault.name.contains(&only)
    };
    let all = fault::of_layer3().into_iter().chain(fault::all());
    let numbered = (510..).zip(all).filter(|(_, fault)| is_played(fault));
    let wrong: Vec<String> = numbered.map(|(seed, fault)| play(seed, &fault)).collect();
    assert!(!wrong.is_empty(), "no fault is called {only}");
    let wrong = wrong.concat();
    assert!(wrong.is_empty(), "\n{wrong}");
}

fn play(seed: u64, fault: &Fault) -> String {
    let lab = lab(seed, 3);
    let (plan, site) = (lab.plan(), lab.plan().site);
    let _traffic = lab.traffic_all_pairs();
    let _injection = lab.inject(fault, site).unwrap();
    let injected = Injected { plan, fault, site };
    let wrong =
        complaints(&lab, |case, answer| injected.judge(case.node, case.intent, answer).map(drop));
    say(&format!("{}, seed {seed}: {} wrong\n", fault.name, wrong.lines().count()));
    wrong.lines().map(|line| format!("{}, {line}\n", fault.name)).collect()
}

/// Gateway and client lie behind the relay too; nobody answers for others, and the lab works again
/// after a fault of the uplink.
#[test]
fn the_relay_carries_to_every_host_and_swallows_the_rest() {
    let lab = lab_of(502, 2, Stack::Dual);
    let plan = lab.plan();
    let nobody: [IpAddr; 2] = ["198.51.100.1", "2001:db8::9"].map(|it| it.parse().unwrap());
    for (family, nobody) in plan.families().iter().zip(nobody) {
        for to in [plan.lan.gateway, plan.nodes[0].ip, plan.nodes[1].ip] {
            assert_eq!(answers(&lab, to.of(*family)), 2, "{to:?}");
        }
        assert_eq!(answers(&lab, nobody), 0);
        let to = SocketAddr::new(plan.lan.vip.of(*family), 80);
        assert_eq!(lab.answered(netns::CLIENT, &Flow::TcpExchange { to }, 2).unwrap(), 2, "{to}");
    }
    for name in FAULTS {
        let injection = lab.inject(&fault::named(name).unwrap(), plan.site).unwrap();
        // The kernel takes up to a second to notice a carrier (net/core/link_watch.c).
        poll_until("the node to fall silent", PATIENCE, || {
            let of_family = |family: &Family| answers(&lab, plan.victim().ip.of(*family));
            let answers: u64 = plan.families().iter().map(of_family).sum();
            ensure!(answers == 0, "{answers} answers with {name}");
            Ok(())
        })
        .unwrap();
        injection.heal().unwrap();
        lab.wait_connected(&plan.all_nodes()).unwrap();
    }
}

/// How many of two pings the client of the LAN gets answered.
fn answers(lab: &Lab, to: IpAddr) -> u64 {
    lab.answered(netns::CLIENT, &Flow::Ping { to, ttl: 64 }, 2).unwrap()
}

#[test]
fn a_fault_of_ethernet_alone_is_refused_with_its_reason() {
    let lab = lab(503, 2);
    for fault in fault::all().iter().filter(|fault| fault.ethernet_only.is_some()) {
        let error = lab.inject(fault, lab.plan().site).unwrap_err().to_string();
        assert!(error.contains("Ethernet"), "{}: {error}", fault.name);
    }
}

#[test]
fn a_fault_of_tun_devices_is_refused_where_the_uplinks_are_ethernet() {
    let plan = Plan::draw(503, &Shape { nodes: Some(2), ..Shape::default() });
    for fault in fault::of_layer3() {
        let error = fault.healing(&plan, plan.site).unwrap_err().to_string();
        assert!(error.contains("TUN"), "{}: {error}", fault.name);
    }
}

/// The relay holds the devices of the lab and of nothing else, and ends when they are gone.
#[test]
fn the_relay_ends_with_the_lab() {
    let lab = lab(504, 2);
    let relays = || {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let commands =
            processes.filter_map(|it| fs::read_to_string(it.path().join("cmdline")).ok());
        commands.filter(|it| it.contains("lab-agent\0relay\0")).count()
    };
    assert_eq!(relays(), 1);
    drop(lab);
    poll_until("the relay to end", PATIENCE, || {
        ensure!(relays() == 0, "{} relays", relays());
        Ok(())
    })
    .unwrap();
}
