//! VIPs: who asks, who answers, who owns, told by the production binary on every node.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod discovery;
mod owner;

use std::{
    fs::File,
    io::Read as _,
    net::IpAddr,
    os::fd::AsFd as _,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::Signal,
        socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket},
    },
};
use serde_json::Value;
use tracer_tests::{
    lab::{LOCK_WAIT, Lab},
    netns,
    plan::{Family, Mac, Plan, Stack},
    poll::poll_true,
    script::Script,
    seed::Shape,
    size,
    tracer::{CheckOutput, Intent},
    traffic::{Flow, Limits, Sender, Traffic},
    watch::Watch,
};

/// How far the gap that is told may be from the one that was captured, in seconds.
const TOLERANCE: f64 = 0.05;
/// Clients that ask once.
const CLIENTS: u8 = 10;

fn lab(seed: u64) -> Lab {
    lab_of(seed, Stack::V4)
}

fn lab_of(seed: u64, stack: Stack) -> Lab {
    lab_like(seed, Shape { stack, ..Shape::default() })
}

fn lab_like(seed: u64, shape: Shape) -> Lab {
    let shape = Shape { nodes: Some(3), ..shape };
    let lab = Lab::up(Plan::draw(seed, &shape), LOCK_WAIT).unwrap();
    // The lab's client knows the owner's MAC; from here on it asks for it.
    let vip = |family: &Family| lab.plan().lan.vip.of(*family);
    let forget = lab.plan().families().iter().map(|it| format!("neigh del {} dev eth0", vip(it)));
    Script::ip(netns::CLIENT, forget).run().unwrap();
    // Nodes know each other's MACs by the packets of pods.
    lab.wait_connected(&lab.plan().all_nodes()).unwrap();
    lab
}

/// The kernel of a node answers for the VIP, as with kube-vip or keepalived.
fn own(lab: &Lab, node: usize) {
    let add = format!("addr add {}/32 dev lo", lab.plan().lan.vip.v4);
    Script::ip(&lab.plan().nodes[node].namespace, [add]).run().unwrap();
}

/// A machine of the LAN asks once for the VIP.
fn who_has(plan: &Plan, number: u8) -> Sender {
    let [a, b, c, _] = plan.lan.gateway.v4.octets();
    let mac = [0x02, 0x5e, 0, 0, 0x99, number];
    let parts: [&[u8]; 7] = [
        &[0xff; 6],
        &mac,
        &[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1],
        &mac,
        &[a, b, c, number],
        &[0; 6],
        &plan.lan.vip.v4.octets(),
    ];
    Sender {
        namespace: netns::CLIENT.to_owned(),
        flow: Flow::Frames { device: "eth0".to_owned(), frame: parts.concat() },
        limits: Limits::exactly(1, 1.0),
    }
}

/// The lab's client pings the VIP; its kernel has to find the MAC first.
fn ping(plan: &Plan) -> Sender {
    ping_of(plan, Family::V4)
}

fn ping_of(plan: &Plan, family: Family) -> Sender {
    Sender {
        namespace: netns::CLIENT.to_owned(),
        flow: Flow::Ping { to: plan.lan.vip.of(family), ttl: 64 },
        limits: Limits::steady(2.0),
    }
}

fn announce(plan: &Plan, node: usize, times: u64) -> Sender {
    announce_of(plan, node, times, Family::V4)
}

fn announce_of(plan: &Plan, node: usize, times: u64, family: Family) -> Sender {
    let node = &plan.nodes[node];
    let (device, address) = (node.uplink.clone(), plan.lan.vip.of(family));
    Sender {
        namespace: node.namespace.clone(),
        flow: Flow::Announcement { device, address },
        limits: Limits::exactly(times, 2.0),
    }
}

/// Nothing for so many tenths of a second.
fn silence(tenths: u64) {
    let (namespace, flow) = (netns::CLIENT.to_owned(), Flow::Capture);
    let limits = Limits::exactly(tenths, 10.0);
    Traffic::start(vec![Sender { namespace, flow, limits }]).finish().unwrap();
}

/// Checks all nodes at the same time.
fn check_all(lab: &Lab, seconds: &str) -> Vec<CheckOutput> {
    check_all_of(lab, seconds, Family::V4)
}

fn check_all_of(lab: &Lab, seconds: &str, family: Family) -> Vec<CheckOutput> {
    let vip = lab.plan().lan.vip.of(family).to_string();
    let nodes = lab.plan().all_nodes();
    lab.check_all(&nodes, Intent::SubnetEnv, &["--vip", &vip, "--duration", seconds]).unwrap()
}

fn vip_of(output: &CheckOutput) -> &Value {
    let vips = output.json["vips"].as_array().unwrap();
    assert_eq!(vips.len(), 1, "{vips:?}");
    &vips[0]
}

#[test]
fn nodes_that_see_ten_clients_ask_and_not_the_owners_answers_find_nothing() {
    let lab = lab(510);
    let plan = lab.plan();
    let owner = plan.lan.vip_owner;
    own(&lab, owner);
    let clients = (10..10 + CLIENTS).map(|number| who_has(plan, number));
    let vip = plan.lan.vip.v4.to_string();
    let watch = |node| lab.watch(node, Intent::SubnetEnv, &["--vip", &vip]).unwrap();
    let watches: Vec<Watch> = plan.all_nodes().into_iter().map(watch).collect();
    let asking = Traffic::start(clients.chain([ping(plan)]).collect());
    // As long as a kernel takes that asks in vain.
    silence(50);
    let asking = asking.stop().unwrap();
    let answers: Vec<_> = watches.into_iter().map(|it| it.end().unwrap().check).collect();
    let pinged = asking.iter().find(|(sender, _)| matches!(sender.flow, Flow::Ping { .. }));
    assert!(pinged.unwrap().1.answered > 0, "{asking:?}");
    for (index, output) in answers.iter().enumerate() {
        assert_eq!(output.findings(), [], "{}", output.json["findings"]);
        let vip = vip_of(output);
        assert!(vip["requests"].as_u64().unwrap() >= u64::from(CLIENTS), "{vip}");
        assert_eq!(vip["retrying_clients"], 0, "{vip}");
        if index == owner {
            assert!(vip["replies"].as_u64().unwrap() >= u64::from(CLIENTS), "{vip}");
            assert_eq!(vip["owner_mac"], plan.nodes[owner].uplink_mac.to_string());
            assert_eq!(
                (&vip["ours"], &vip["owner_node"]),
                (&true.into(), &output.json["node"]["name"])
            );
        } else {
            assert_eq!((&vip["replies"], &vip["on_device"]), (&0.into(), &false.into()), "{vip}");
            assert_eq!(vip["owner_mac"], Value::Null, "a reply is seen by its ends alone: {vip}");
        }
    }
}

#[test]
fn a_client_that_nobody_answers_is_told_on_every_node() {
    let lab = lab(511);
    let plan = lab.plan();
    let asking = Traffic::start(vec![ping(plan)]);
    let answers = check_all(&lab, "7s");
    asking.stop().unwrap();
    for output in &answers {
        let vip = plan.lan.vip.v4.to_string();
        assert_eq!(
            output.findings(),
            [("vip-arp-unanswered", vip.as_str())],
            "{}",
            output.json["vips"]
        );
        assert_eq!(vip_of(output)["retrying_clients"], 1);
        assert_eq!(output.json["findings"][0]["confidence"], "likely");
    }
}

#[test]
fn a_failover_names_the_new_owner_and_the_gap() {
    fails_over(&lab(512), Family::V4);
}

fn fails_over(lab: &Lab, family: Family) {
    let plan = lab.plan();
    let (before, after, watcher) = (0, 1, 2);
    let over = AtomicBool::new(false);
    let vip = plan.lan.vip.of(family).to_string();
    let duration = size::of("8s", "20s");
    let watch = lab.watch_for(duration, watcher, Intent::SubnetEnv, &["--vip", &vip]).unwrap();
    let (output, captured) = thread::scope(|scope| {
        let capture = scope.spawn(|| capture(plan, watcher, plan.lan.vip.of(family), &over));
        Traffic::start(vec![announce_of(plan, before, 4, family)]).finish().unwrap();
        silence(12);
        Traffic::start(vec![announce_of(plan, after, 3, family)]).finish().unwrap();
        over.store(true, Ordering::Relaxed);
        (watch.wait_for_end().unwrap().check, capture.join().unwrap())
    });
    let at = |node: usize| {
        let mac = plan.nodes[node].uplink_mac;
        captured.iter().filter(move |(_, from)| *from == mac).map(|(time, _)| *time)
    };
    let gap = at(after).next().unwrap() - at(before).next_back().unwrap();
    let vip = vip_of(&output);
    assert_eq!(vip["owner_mac"], plan.nodes[after].uplink_mac.to_string(), "{vip}");
    assert_eq!(vip["former_owner_mac"], plan.nodes[before].uplink_mac.to_string(), "{vip}");
    assert_eq!(vip["owner_changes"], 1, "{vip}");
    assert_eq!(vip["owner_node"], plan.nodes[after].ip.of(family).to_string(), "{vip}");
    let told = vip["gap_seconds"].as_f64().unwrap();
    assert!((told - gap.as_secs_f64()).abs() < TOLERANCE, "{told} and {gap:?}");
    assert_eq!(output.findings(), [], "a failover is no fault");
}

/// What the third node says while the first and another announce the VIP all the time.
fn while_two_announce(lab: &Lab, senders: [Sender; 2], duration: &str) -> CheckOutput {
    let limits = Limits::steady(2.0);
    let Flow::Announcement { address: vip, .. } = senders[0].flow else { panic!("{senders:?}") };
    let announcing = Traffic::start(senders.map(|it| Sender { limits, ..it }).into());
    let vip = vip.to_string();
    let options = ["--vip", &vip, "--duration", duration];
    let output = lab.check(2, Intent::SubnetEnv, &options).unwrap();
    announcing.stop().unwrap();
    output
}

#[test]
fn two_nodes_that_announce_a_vip_are_told_by_a_third() {
    two_nodes_announce(&lab(514), Family::V4);
}

fn two_nodes_announce(lab: &Lab, family: Family) {
    let vip = lab.plan().lan.vip.of(family).to_string();
    let both = [0, 1].map(|node| announce_of(lab.plan(), node, 1, family));
    let output = while_two_announce(lab, both, "5s");
    assert_eq!(output.findings(), [("vip-arp-two-macs", vip.as_str())], "{}", output.json["vips"]);
}

#[test]
fn a_machine_of_the_lan_that_announces_a_vip_too_is_told() {
    let lab = lab(515);
    let vip = lab.plan().lan.vip.v4;
    let flow = Flow::Announcement { device: "eth0".to_owned(), address: vip.into() };
    let namespace = netns::CLIENT.to_owned();
    let stranger = Sender { namespace, flow, limits: Limits::steady(2.0) };
    // Longer than a node announces what it takes.
    let output = while_two_announce(&lab, [announce(lab.plan(), 0, 1), stranger], "9s");
    let (code, vip) = ("vip-conflicts-with-foreign-host", vip.to_string());
    assert_eq!(output.findings(), [(code, vip.as_str())], "{}", output.json["vips"]);
}

#[test]
fn a_daemon_learns_of_a_vip_and_tells_who_has_it_now() {
    let lab = lab(513);
    let plan = lab.plan();
    let (owner, watcher) = (0, 2);
    let daemon = lab.daemon(watcher, Intent::SubnetEnv, &[]).unwrap();
    let announcing =
        Traffic::start(vec![Sender { limits: Limits::steady(2.0), ..announce(plan, owner, 1) }]);
    let patience = Duration::from_secs(40);
    poll_true("an event", patience, || !daemon.events_of("vip").is_empty()).unwrap();
    announcing.stop().unwrap();
    let event = daemon.events_of("vip").remove(0);
    assert_eq!(event["vip"]["address"], plan.lan.vip.v4.to_string());
    assert_eq!(event["vip"]["owner_mac"], plan.nodes[owner].uplink_mac.to_string());
    assert_eq!(event["vip"]["owner_node"], plan.nodes[owner].ip.v4.to_string());
    let text = daemon.get("/metrics", "*/*").unwrap().body;
    let vip = plan.lan.vip.v4;
    for sample in ["vip_owner_changes_total", "vip_announced"] {
        let line = format!("flannel_tracer_{sample}{{vip=\"{vip}\"}} 0");
        assert!(text.contains(&line), "no {line} in {text}");
    }
    daemon.end_by(Signal::SIGTERM).unwrap();
}

/// Who announces the VIP, and when, as a packet socket on a node's uplink hears it.
fn capture(plan: &Plan, node: usize, vip: IpAddr, over: &AtomicBool) -> Vec<(Instant, Mac)> {
    netns::run_in(&plan.nodes[node].namespace, || {
        let (raw, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
        let mut socket =
            File::from(socket(AddressFamily::Packet, raw, flags, SockProtocol::EthAll)?);
        let (mut heard, mut frame) = (Vec::new(), [0; 2048]);
        while !over.load(Ordering::Relaxed) {
            let mut asked = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
            if poll(&mut asked, PollTimeout::from(100_u8))? == 0 {
                continue;
            }
            let length = socket.read(&mut frame)?;
            let now = Instant::now();
            heard.extend(announced_by(&frame[..length], vip).map(|mac| (now, mac)));
        }
        Ok(heard)
    })
    .unwrap()
}

/// The MAC that a frame announces for the VIP: by gratuitous ARP, or a neighbour advertisement with its
/// option.
fn announced_by(frame: &[u8], vip: IpAddr) -> Option<Mac> {
    let holds = |at: usize, bytes: &[u8]| frame.get(at..at + bytes.len()) == Some(bytes);
    let (is_told, mac) = match vip {
        IpAddr::V4(vip) => {
            let (arp, vip) = (holds(12, &[0x08, 0x06]), vip.octets());
            (arp && holds(28, &vip) && holds(38, &vip), 22)
        }
        IpAddr::V6(vip) => {
            let is_advertisement =
                holds(12, &[0x86, 0xdd]) && holds(20, &[58]) && holds(54, &[136]);
            (is_advertisement && holds(62, &vip.octets()) && holds(78, &[2, 1]), 80)
        }
    };
    is_told.then(|| frame.get(mac..mac + 6)?.try_into().ok().map(Mac))?
}
