//! The lab itself: it comes up quickly, works, is as flannel writes it, and leaves nothing behind.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod flannel;

use std::{
    fs,
    io::{BufRead as _, BufReader, ErrorKind},
    net::{IpAddr, SocketAddr, UdpSocket},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _, process::ExitStatusExt as _},
    panic,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tracer_tests::{
    counters::{Counters, Packets, Protocol},
    fault,
    lab::{LOCK_WAIT, Lab},
    netns,
    plan::{DNS_NAME, FlannelRules, Plan, ProxyRules, SINK_PORT, SYSLOG_PORT, Stack},
    poll::poll_until,
    process,
    seed::{MAX_NODES, Shape},
    size, state,
    traffic::{self, Counts, Flow, Limits, Sender, Traffic},
};

const STACKS: [Stack; 3] = [Stack::V4, Stack::V6, Stack::Dual];

/// Of each of up to a hundred senders, a second: none may wait for its answer longer than
/// [`traffic::ANSWER_TIMEOUT`].
const RATE: [f64; 2] = [50.0, 1.0];
/// Answers to five questions where programs are interpreted and one may wait too long all the same.
const ENOUGH: u64 = 3;

fn lab(seed: u64, nodes: usize) -> Lab {
    lab_of(seed, nodes, Stack::V4)
}

fn lab_of(seed: u64, nodes: usize, stack: Stack) -> Lab {
    let shape = Shape { nodes: Some(nodes), stack, ..Shape::default() };
    Lab::up(Plan::draw(seed, &shape), LOCK_WAIT).unwrap()
}

/// What a tool prints in a namespace.
fn shown(namespace: &str, program: &str, arguments: &[&str]) -> String {
    let output = netns::command_in(namespace, program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Devices of the machine's own namespace.
fn own_devices() -> String {
    let output = Command::new("ip").args(["-br", "link"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Under the lock, so that a lab of another suite is not taken for a rest of ours.
fn assert_nothing_is_left(devices_before: &str) {
    let _lock = state::lock(LOCK_WAIT).unwrap();
    assert_eq!(netns::existing().unwrap(), Vec::<String>::new());
    assert!(!state::file("").exists());
    assert_eq!(own_devices(), devices_before);
}

#[test]
fn labs_of_every_size_carry_all_traffic() {
    for nodes in 1..=MAX_NODES {
        carries_all_traffic(&lab(nodes as u64, nodes));
    }
}

#[test]
fn labs_of_every_stack_carry_all_traffic() {
    for (seed, stack) in [(50, Stack::V6), (51, Stack::Dual)] {
        for nodes in [1, 3] {
            carries_all_traffic(&lab_of(seed, nodes, stack));
        }
    }
}

fn carries_all_traffic(lab: &Lab) {
    let (nodes, families) = (lab.plan().nodes.len(), lab.plan().families().len());
    let mut senders = traffic::all_pairs(lab.plan(), &lab.plan().all_nodes());
    for sender in &mut senders {
        sender.limits = Limits::exactly(5, size::of(RATE[0], RATE[1]));
    }
    // Queries of DNS from each node, and six senders for each pair of nodes.
    let expected = families * (nodes + nodes * (nodes - 1) * 6);
    assert_eq!(senders.len(), expected, "{senders:?}");
    for (sender, counts) in Traffic::start(senders).finish().unwrap() {
        let is_carried = counts.sent == 5 && counts.answered >= size::of(5, ENOUGH);
        assert!(is_carried, "{sender:?}: {counts:?}");
    }
}

#[test]
fn a_lab_of_three_nodes_is_quick() {
    for stack in STACKS {
        is_quick(stack);
    }
}

fn is_quick(stack: Stack) {
    let start = Instant::now();
    let lab = lab_of(7, 3, stack);
    assert!(
        start.elapsed() < size::patience(Duration::from_secs(3)),
        "up after {:?}",
        start.elapsed()
    );
    let start = Instant::now();
    drop(lab);
    assert!(
        start.elapsed() < size::patience(Duration::from_secs(1)),
        "down after {:?}",
        start.elapsed()
    );
}

#[test]
fn a_lab_works_without_bridge_netfilter() {
    for (proxy_rules, flannel_rules) in [
        (ProxyRules::Iptables, FlannelRules::Iptables),
        (ProxyRules::Nftables, FlannelRules::Nftables),
    ] {
        let shape = Shape {
            nodes: Some(2),
            stack: Stack::Dual,
            bridge_netfilter: false,
            proxy_rules,
            flannel_rules,
            ..Shape::default()
        };
        let lab = Lab::up(Plan::draw(20, &shape), LOCK_WAIT).unwrap();
        let plan = lab.plan();
        for family in plan.families() {
            let server = plan.dns_server(*family);
            let dns = Flow::Dns { server, name: DNS_NAME.to_owned() };
            for node in &plan.nodes {
                let pod = node.first_pod().unwrap();
                let answered = lab.answered(&pod.namespace, &dns, 3).unwrap();
                assert_eq!(answered, 3, "{}: {server}", pod.name);
            }
        }
    }
}

#[test]
fn what_leaves_for_nobody_is_swallowed_without_an_answer() {
    let lab = lab_of(4, 1, Stack::Dual);
    let plan = lab.plan();
    let (node, pod) = (&plan.nodes[0], plan.nodes[0].first_pod().unwrap());
    let nobody: [IpAddr; 2] = ["203.0.113.9", "2001:db8::9"].map(|it| it.parse().unwrap());
    for (family, to) in plan.families().iter().zip(nobody) {
        let unknown = Flow::Ping { to, ttl: 64 };
        assert_eq!(lab.answered(&pod.namespace, &unknown, 2).unwrap(), 0, "{to}");
        let gateway = Flow::Ping { to: plan.lan.gateway.of(*family), ttl: 64 };
        assert_eq!(lab.answered(&node.namespace, &gateway, 2).unwrap(), 2, "{gateway:?}");
        // Not even with an error: that would reach a socket of UDP.
        let unknown = SocketAddr::new(to, 7);
        let socket = netns::run_in(&pod.namespace, || {
            let socket = UdpSocket::bind((family.unspecified(), 0))?;
            socket.connect(unknown)?;
            socket.send(b"?")?;
            socket.set_read_timeout(Some(Duration::from_millis(200)))?;
            Ok(socket)
        });
        let error = socket.unwrap().recv(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{unknown}: {error}");
    }
}

#[test]
fn the_client_of_the_lan_reaches_a_pod_by_the_vip() {
    let lab = lab_of(5, 3, Stack::Dual);
    for family in lab.plan().families() {
        let to = SocketAddr::new(lab.plan().lan.vip.of(*family), 80);
        assert_eq!(lab.answered(netns::CLIENT, &Flow::TcpExchange { to }, 3).unwrap(), 3, "{to}");
    }
}

#[test]
fn nothing_is_left_after_an_end_and_after_a_panic() {
    let before = own_devices();
    for stack in STACKS {
        drop(lab_of(8, 2, stack));
        assert_nothing_is_left(&before);
    }
    let panicked = panic::catch_unwind(|| {
        let _lab = lab(9, 2);
        panic!("on purpose");
    });
    assert!(panicked.is_err());
    assert_nothing_is_left(&before);
}

#[test]
fn a_signal_takes_the_lab_down() {
    let before = own_devices();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut holder = hold(10);
        assert!(!netns::existing().unwrap().is_empty());
        kill(Pid::from_raw(holder.id() as i32), signal).unwrap();
        let status = holder.wait().unwrap();
        assert_eq!(status.code(), Some(128 + signal as i32));
        assert_nothing_is_left(&before);
    }
}

#[test]
fn the_next_lab_removes_what_a_killed_one_left() {
    let before = own_devices();
    let mut holder = hold(11);
    let flanneld = shown("fltr-n1", "ip", &["netns", "pids", "fltr-n1"]);
    kill(Pid::from_raw(holder.id() as i32), Signal::SIGKILL).unwrap();
    assert_eq!(holder.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
    drop(lab(12, 1));
    assert_nothing_is_left(&before);
    for pid in flanneld.split_whitespace() {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{state}");
    }
}

#[test]
fn there_is_only_one_lab_at_a_time() {
    let _lab = lab(13, 1);
    let error = Lab::up(Plan::draw(14, &Shape::default()), Duration::ZERO).unwrap_err();
    assert!(format!("{error:#}").contains("another lab"), "{error:#}");
}

#[test]
fn a_lab_can_be_left_running_broken_healed_and_taken_down() {
    let before = own_devices();
    lab(15, 2).keep().unwrap();
    let error = Lab::up(Plan::draw(16, &Shape::default()), Duration::ZERO).unwrap_err();
    assert!(format!("{error:#}").contains("lab down"), "{error:#}");
    let site = state::kept().unwrap().unwrap().plan.site;
    for name in ["flannel-link-flapped-state-lost", "flannel-link-missing"] {
        let fault = fault::named(name).unwrap();
        Lab::attach().unwrap().inject_and_leave(&fault, site).unwrap();
    }
    let mut lab = Lab::attach().unwrap();
    assert!(lab.heal().unwrap());
    lab.wait_connected(&[0, 1]).unwrap();
    assert!(!lab.heal().unwrap());
    drop(lab);
    assert!(!netns::existing().unwrap().is_empty());
    Lab::down().unwrap();
    assert_nothing_is_left(&before);
    assert!(Lab::attach().unwrap_err().to_string().contains("lab up"));
}

#[test]
fn without_root_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let agent = folder.path().join("agent");
    fs::copy(process::agent().unwrap(), &agent).unwrap();
    let nobody = 65534;
    let output =
        Command::new(agent).args(["hold", "--seed", "1"]).uid(nobody).gid(nobody).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("needs root"), "{said}");
}

#[test]
fn a_burst_of_datagrams_is_exact_at_every_counter() {
    let datagrams = size::of(10_000, 1_000);
    let lab = lab(17, 2);
    let ends = [lab.plan().victim(), lab.plan().peer()];
    let counters =
        ends.map(|node| Counters::install(lab.plan(), node, Protocol::Udp, SYSLOG_PORT).unwrap());
    let to = at(&lab, SYSLOG_PORT);
    let sent = send(&lab, Flow::UdpOneWay { to, size: 120 }, Limits::exactly(datagrams, 5_000.0));
    assert_eq!((sent.sent, sent.errors), (datagrams, 0));
    let outgoing = ["pod_out", "overlay_out", "wire_out"].map(|stage| (stage, datagrams));
    let incoming = ["wire_in", "overlay_in", "pod_in"].map(|stage| (stage, datagrams));
    let none = |stages: [(&'static str, u64); 3]| stages.map(|(stage, _)| (stage, 0));
    let expected = [(outgoing, none(incoming)), (none(outgoing), incoming)];
    for (counters, (outgoing, incoming)) in counters.iter().zip(expected) {
        let expected: Packets = outgoing
            .into_iter()
            .chain(incoming)
            .map(|(it, count)| (it.to_owned(), count))
            .collect();
        poll_until("the last datagrams", Duration::from_secs(5), || {
            let read = counters.read()?;
            anyhow::ensure!(read == expected, "{read:?} instead of {expected:?}");
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn a_busy_pair_of_nodes_loses_nothing() {
    let lab = lab(19, 2);
    let mut senders = traffic::load(lab.plan());
    for sender in &mut senders {
        // One second's worth, however long this machine takes for it.
        let rate = size::of(sender.limits.rate, (sender.limits.rate / 10.0).ceil());
        sender.limits = Limits::exactly(rate as u64, rate);
    }
    // An answer has 200 ms, which a kernel that is interpreted needs for a few senders at once.
    for together in senders.chunks(size::of(senders.len(), 2)) {
        for (sender, counts) in Traffic::start(together.to_vec()).finish().unwrap() {
            assert_eq!(counts.sent, counts.answered, "{sender:?}: {counts:?}");
        }
    }
}

#[test]
fn bulk_tcp_uses_segmentation_offload() {
    let bytes: u64 = size::of(100 << 20, 4 << 20);
    let lab = lab(18, 2);
    let counters =
        Counters::install(lab.plan(), lab.plan().victim(), Protocol::Tcp, SINK_PORT).unwrap();
    let sent =
        send(&lab, Flow::TcpBulk { to: at(&lab, SINK_PORT), bytes }, Limits::exactly(1, 1.0));
    assert_eq!((sent.answered, sent.bytes), (1, bytes));
    let segments = bytes / u64::from(lab.plan().pod_mtu() - 52);
    let packets = counters.read().unwrap();
    for stage in ["pod_out", "overlay_out", "wire_out"] {
        // A packet filter sees a packet of many segments once.
        assert!((1..segments / 4).contains(&packets[stage]), "{packets:?} of {segments}");
    }
}

/// A port of the peer's first pod.
fn at(lab: &Lab, port: u16) -> SocketAddr {
    lab.plan().peer().first_pod().unwrap().at(lab.plan().site.family, port)
}

/// Sends from the victim's first pod until the limits are reached.
fn send(lab: &Lab, flow: Flow, limits: Limits) -> Counts {
    let namespace = lab.plan().victim().first_pod().unwrap().namespace.clone();
    Traffic::start(vec![Sender { namespace, flow, limits }]).finish().unwrap()[0].1
}

/// Starts a process that holds a lab, and waits until it is up.
fn hold(seed: u64) -> Child {
    let mut holder = Command::new(process::agent().unwrap())
        .args(["hold", "--seed", &seed.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    holder
}
