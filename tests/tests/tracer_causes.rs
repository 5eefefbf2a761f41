//! One fault, one finding: several faults stay apart, what a fault causes is told with it, and a
//! loss whose cause no table shows is told with its stage alone.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{fs, process::Command};

use ipnet::IpNet;
use serde_json::Value;
use tracer_tests::{
    expect::{only_finding, peer_states},
    fault::{self, Injection, filter::Chain},
    lab::{LOCK_WAIT, Lab},
    lan,
    matrix::in_parallel,
    netns,
    plan::{Family, Node, Plan, Site},
    sample::{OF_LAB, Sample},
    script::{Script, Tool},
    seed::Shape,
    size, state,
    tracer::{CheckOutput, Intent, binary},
    traffic::Flow,
};

const WINDOW: &str = "3s";
const LONG_WINDOW: &str = "5s";
/// The last part of the address that a node gets whose own is replaced.
const MOVED_TO: u8 = 7;
/// The MAC of a machine that has a node's address too.
const TWIN_MAC: &str = "02:00:00:00:aa:77";

fn lab(seed: u64) -> Lab {
    let shape = Shape { nodes: Some(3), ..Shape::default() };
    Lab::up(Plan::draw(seed, &shape), LOCK_WAIT).unwrap()
}

/// All of these labs, or the one whose turn it is.
fn turn_of(seeds: [u64; 2]) -> Vec<u64> {
    Sample::of_environment(OF_LAB).unwrap().turn_of(seeds)
}

/// A seed whose lab has another VNI than flannel's default.
fn seed_of_another_vni() -> u64 {
    let plan = |seed: &u64| Plan::draw(*seed, &Shape { nodes: Some(3), ..Shape::default() });
    (400..).find(|seed| plan(seed).vni != 1).unwrap()
}

/// Traffic is slower where programs are interpreted.
fn window() -> [&'static str; 2] {
    ["--duration", size::of(WINDOW, LONG_WINDOW)]
}

fn inject(lab: &Lab, name: &str, peer: usize) -> Injection {
    let victim = lab.plan().site.victim;
    lab.inject(&fault::named(name).unwrap(), Site { victim, peer, ..lab.plan().site }).unwrap()
}

/// The answers of the victim's tracer with every intent.
fn check_victim(lab: &Lab) -> Vec<CheckOutput> {
    let check = |intent: &Intent| lab.check(lab.plan().site.victim, *intent, &window());
    in_parallel(&Intent::ALL, Intent::ALL.len(), check).into_iter().map(Result::unwrap).collect()
}

/// Code and subject of all findings, in order.
fn found(answer: &CheckOutput) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> =
        answer.findings().iter().map(|(code, key)| ((*code).into(), (*key).into())).collect();
    found.sort();
    found
}

#[test]
fn two_faults_of_two_peers_are_two_findings() {
    for seed in turn_of([410, 414]) {
        let lab = lab(seed);
        let plan = lab.plan();
        let [one, other] = plan.others(plan.site.victim)[..] else { panic!("three nodes") };
        let subnet = |node: usize| plan.nodes[node].subnet.v4.to_string();
        let _traffic = lab.traffic_all_pairs();
        for (first, second) in [
            ("fdb-entry-missing", "pod-route-missing"),
            ("neigh-entry-missing", "pod-route-blackholed"),
            ("pod-route-missing", "pod-route-missing"),
            ("neigh-entry-missing", "fdb-entry-missing"),
        ] {
            let _first = inject(&lab, first, one);
            let _second = inject(&lab, second, other);
            for answer in check_victim(&lab) {
                let mut expected = [(first.into(), subnet(one)), (second.into(), subnet(other))];
                expected.sort();
                assert_eq!(found(&answer), expected, "seed {seed}, {first} and {second}");
                assert_eq!(answer.status, 1);
                let broken = |(_, state): &(String, String)| state == "broken";
                assert!(peer_states(&answer).unwrap().iter().all(broken), "{answer:?}");
            }
        }
    }
}

#[test]
fn a_fault_of_the_node_and_one_of_a_peer_are_two_findings() {
    let lab = lab(415);
    let plan = lab.plan();
    let (victim, peer) = (plan.victim(), plan.site.peer);
    let subnet = plan.nodes[peer].subnet.v4.to_string();
    let _traffic = lab.traffic_all_pairs();
    for (of_node, device, of_peer) in [
        ("ip-forward-off", victim.bridge.clone(), "fdb-entry-missing"),
        ("ip-forward-off-overlay", plan.overlay(Family::V4), "pod-route-missing"),
        ("cni0-wrong-address", victim.bridge.clone(), "neigh-entry-missing"),
        ("cni0-down", victim.bridge.clone(), "fdb-entry-missing"),
        ("tunnel-fragments-outer", plan.overlay(Family::V4), "pod-route-blackholed"),
        ("pod-mtu-larger-than-tunnel", victim.bridge.clone(), "fdb-entry-missing"),
    ] {
        let _first = inject(&lab, of_node, peer);
        let _second = inject(&lab, of_peer, peer);
        let code = fault::named(of_node).unwrap().code;
        let mut expected = [(code.into(), device), (of_peer.into(), subnet.clone())];
        expected.sort();
        for answer in check_victim(&lab) {
            assert_eq!(found(&answer), expected, "{of_node} and {of_peer}");
            assert_eq!(answer.status, 1);
        }
    }
}

#[test]
fn what_a_fault_causes_is_told_with_it() {
    for seed in turn_of([411, 416]) {
        let lab = lab(seed);
        let peer = lab.plan().site.peer;
        let cidr = lab.plan().nodes[peer].subnet.v4.to_string();
        // Whoever of the two has the DNS server: queries for it or its answers go the same way.
        let dns = format!("dns {}", lab.plan().dns.pod_ip.v4);
        let is_between = [peer, lab.plan().site.victim].contains(&lab.plan().dns.node);
        let _traffic = lab.traffic_all_pairs();
        for name in ["fdb-entry-missing", "neigh-entry-missing", "pod-route-blackholed"] {
            let _injection = inject(&lab, name, peer);
            for answer in check_victim(&lab) {
                let finding = only_finding(&answer).unwrap();
                assert_eq!(finding["code"], name);
                let breaks = finding["breaks"].as_array().unwrap();
                let (of_peers, others): (Vec<&str>, Vec<&str>) =
                    breaks.iter().filter_map(Value::as_str).partition(|it| it.contains(&cidr));
                assert!(!of_peers.is_empty(), "{name}: {breaks:?}");
                assert!(others.iter().all(|it| is_between && *it == dns), "{name}: {breaks:?}");
                assert!(finding["impact"]["packets"].as_u64().unwrap() > 0, "{name}: {finding}");
            }
        }
    }
}

/// Nothing is forwarded: that of both peers the packets end, on their way out and in, are four
/// symptoms of one fault.
#[test]
fn all_symptoms_of_one_fault_are_told_with_it() {
    for seed in turn_of([417, 418]) {
        let lab = lab(seed);
        let plan = lab.plan();
        let _traffic = lab.traffic_all_pairs();
        let _injection = inject(&lab, "ip-forward-off", plan.site.peer);
        let others = plan.others(plan.site.victim);
        let mut expected: Vec<String> = others
            .iter()
            .flat_map(|other| {
                let cidr = plan.nodes[*other].subnet.v4;
                ["pod_out", "overlay_in"].map(|stage| format!("packets of {cidr} after {stage}"))
            })
            .collect();
        expected.sort();
        for answer in check_victim(&lab) {
            let finding = only_finding(&answer).unwrap();
            assert_eq!(finding["code"], "ip-forward-off");
            let breaks = finding["breaks"].as_array().unwrap();
            let mut breaks: Vec<&str> = breaks.iter().map(|it| it.as_str().unwrap()).collect();
            breaks.sort();
            // Queries that timed out in the window: those of the load may have.
            breaks.retain(|it| !it.starts_with("dns "));
            assert_eq!(breaks, expected, "seed {seed}");
            assert!(finding["impact"]["packets"].as_u64().unwrap() > 0, "{finding}");
        }
    }
}

#[test]
fn a_device_that_is_gone_has_the_name_that_was_given() {
    let lab = lab(seed_of_another_vni());
    let overlay = lab.plan().overlay(Family::V4);
    let _traffic = lab.traffic_all_pairs();
    let _injection = inject(&lab, "flannel-link-missing", lab.plan().site.peer);
    let extra = [&window()[..], &["--overlay", &overlay]].concat();
    let answer = lab.check(lab.plan().site.victim, Intent::SubnetEnv, &extra).unwrap();
    assert_eq!(answer.findings(), [("flannel-link-missing", overlay.as_str())]);
}

/// With the drops who dropped is told, and without them where.
#[test]
fn a_loss_without_a_cause_in_the_tables_is_told_with_its_stage() {
    let lab = lab(412);
    let plan = lab.plan();
    let (peer, port) = (plan.peer(), plan.port);
    let cidr = peer.subnet.v4.to_string();
    let _traffic = lab.traffic_all_pairs();
    // The node's own packets do not pass the hook forward: there the peer is still heard.
    for (hook, matches, last_stage, state, code) in [
        ("forward", format!("ip daddr {cidr}"), "pod_out", "ok", "fw-drops-forwarded-pod-traffic"),
        (
            "output",
            format!("ip daddr {} udp dport {port}", peer.ip.v4),
            "overlay_out",
            "one-way-in",
            "fw-drops-vxlan-output",
        ),
        (
            "input",
            format!("ip saddr {} udp dport {port}", peer.ip.v4),
            "wire_in",
            "one-way-out",
            "fw-drops-vxlan-input",
        ),
        (
            "forward",
            format!("ip saddr {cidr}"),
            "overlay_in",
            "ok",
            "fw-drops-forwarded-pod-traffic",
        ),
    ] {
        let _drop = Chain::inet(hook).dropping(plan.victim(), &matches).unwrap();
        for Told { whole, by_place, without, lenient } in check_victim_and_forget_drops(&lab) {
            let is_read = whole.json["coverage"]["drops"] == "on";
            let sure = if is_read { "certain" } else { "likely" };
            for (answer, confidence) in [(whole, sure), (by_place, "likely")] {
                assert_eq!(answer.findings(), [(code, cidr.as_str())], "{last_stage}");
                assert_eq!(only_finding(&answer).unwrap()["confidence"], confidence);
            }
            let finding = only_finding(&without).unwrap();
            let told = (&finding["code"], &finding["subject"]["key"], &finding["severity"]);
            assert_eq!(
                told,
                (&"unexplained-loss".into(), &cidr.as_str().into(), &"warning".into())
            );
            let title = finding["title"].as_str().unwrap();
            assert!(title.ends_with(&format!("lost after {last_stage}")), "{hook}: {title}");
            assert_eq!((without.status, lenient.status), (1, 0), "{last_stage}");
            for (key, told) in peer_states(&without).unwrap() {
                assert_eq!(told, if key == cidr { state } else { "ok" }, "{last_stage}: {key}");
            }
        }
    }
}

/// What one look says of a loss, by how much is known of what the kernel dropped.
struct Told {
    /// Everything.
    whole: CheckOutput,
    /// Where, but not whose.
    by_place: CheckOutput,
    /// Nothing.
    without: CheckOutput,
    /// Nothing, and a warning is not to fail.
    lenient: CheckOutput,
}

/// The answers of the victim's tracer with every intent, and what the same evidence says when less
/// of the drops could be read.
fn check_victim_and_forget_drops(lab: &Lab) -> Vec<Told> {
    let folder = tempfile::tempdir().unwrap();
    let check = |intent: &Intent| {
        let file = folder.path().join(intent.name());
        let save = [&window()[..], &["--save", file.to_str().unwrap()]].concat();
        let whole = lab.check(lab.plan().site.victim, *intent, &save)?;
        let mut evidence: Value = serde_json::from_slice(&fs::read(&file)?)?;
        let judge = |evidence: &Value, fail_on: &str| {
            fs::write(&file, evidence.to_string())?;
            let mut command = Command::new(binary()?);
            command.args(["check", "--format", "json", "--fail-on", fail_on, "--from"]).arg(&file);
            CheckOutput::of(&command.output()?)
        };
        evidence["drops"]["headers_read"] = false.into();
        for drop in evidence["drops"]["entries"].as_array_mut().into_iter().flatten() {
            (drop["flow"], drop["outer"]) = (Value::Null, Value::Null);
        }
        let by_place = judge(&evidence, "warning")?;
        evidence["drops"] = Value::Null;
        let (without, lenient) = (judge(&evidence, "warning")?, judge(&evidence, "critical")?);
        Ok(Told { whole, by_place, without, lenient })
    };
    in_parallel(&Intent::ALL, Intent::ALL.len(), check).into_iter().map(Result::unwrap).collect()
}

#[test]
fn a_loss_on_the_peer_is_told_by_the_flows_that_get_no_answer() {
    let lab = lab(413);
    let plan = lab.plan();
    let (victim, peer) = (plan.victim(), plan.peer());
    let _traffic = lab.traffic_all_pairs();
    let from_here = format!("ip saddr {}", victim.subnet.v4);
    let _drop = Chain::inet("forward").dropping(peer, &from_here).unwrap();
    for answer in check_victim(&lab) {
        let finding = only_finding(&answer).unwrap();
        assert_eq!(answer.findings(), [("unexplained-loss", peer.subnet.v4.to_string().as_str())]);
        assert!(finding["title"].as_str().unwrap().ends_with("lost after wire_out"), "{finding}");
        assert_eq!(answer.status, 1);
        let ok = |(_, state): &(String, String)| state == "ok";
        assert!(peer_states(&answer).unwrap().iter().all(ok), "{answer:?}");
    }
}

#[test]
fn a_node_that_got_another_address_is_told_by_the_others_as_moved() {
    let lab = lab(420);
    let plan = lab.plan();
    let moved = plan.victim();
    let (old, new) = (moved.ip.v4, lan::host(plan, MOVED_TO).v4);
    let _traffic = lab.traffic_all_pairs();
    let _injection = inject(&lab, "vtep-source-address-lost-replaced", plan.site.peer);
    for other in plan.others(plan.site.victim) {
        let node = &plan.nodes[other];
        let path = state::peers_path(node);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(&format!(" {old} "), &format!(" {new} "))).unwrap();
        // Nodes talk to each other beside the tunnel: the kubelet, the API server. That this node asks
        // for the other's MAC is a proof of life; that it once heard it ask is none.
        let forget = format!("neigh flush to {new} dev {}", node.uplink);
        Script::ip(&node.namespace, [forget]).run().unwrap();
        let ping = Flow::Ping { to: new.into(), ttl: 64 };
        assert!(lab.answered(&node.namespace, &ping, 2).unwrap() > 0);
        let answer = lab.check(other, Intent::PeersFile, &window()).unwrap();
        let expected = ("node-ip-changed-peers-stale".into(), moved.subnet.v4.to_string());
        assert_eq!(found(&answer), [expected]);
        assert_eq!(answer.status, 1);
    }
    let answer = lab.check(plan.site.victim, Intent::PeersFile, &window()).unwrap();
    assert_eq!(found(&answer), [("vtep-source-address-lost".into(), plan.overlay(Family::V4))]);
}

/// It answers ARP, so that the entry is as good as any: its MAC is not the one that frames come from.
/// Where it refuses the tunnel's packets, that is told, with the MACs; where it keeps silent, the MACs.
#[test]
fn a_machine_that_has_the_address_of_a_peer_too_is_told_by_its_mac() {
    let lab = lab(419);
    let (victim, peer, port) = (lab.plan().victim(), lab.plan().peer(), lab.plan().port);
    let _traffic = lab.traffic_all_pairs();
    for script in twin_of(victim, peer) {
        script.run().unwrap();
    }
    let about_peer = |code: &str| {
        for answer in check_victim(&lab) {
            let finding = only_finding(&answer).unwrap();
            assert_eq!(finding["code"], code, "{finding:#}");
            assert_eq!(finding["subject"]["key"], peer.subnet.v4.to_string());
            assert!(finding.to_string().contains(TWIN_MAC), "{finding:#}");
            let is_sure = code == "peer-vtep-not-listening";
            assert_eq!(finding["confidence"], if is_sure { "certain" } else { "likely" });
        }
    };
    about_peer("peer-vtep-not-listening");
    let quiet = [
        "add table inet quiet".to_owned(),
        "add chain inet quiet input { type filter hook input priority 0; }".to_owned(),
        format!("add rule inet quiet input udp dport {port} drop"),
    ];
    Script::new(Tool::Nft, Some(netns::CLIENT), quiet).run().unwrap();
    about_peer("underlay-neighbour-wrong-mac");
}

/// The LAN's client gets the peer's address, and the victim has its MAC for it.
fn twin_of(victim: &Node, peer: &Node) -> [Script; 3] {
    let (twin, ip) = (IpNet::from(peer.ip.of(Family::V4)), peer.ip.v4);
    let answered =
        format!("neigh replace {ip} lladdr {TWIN_MAC} dev {} nud reachable", victim.uplink);
    // Else the peer asks for the victim, and the entry learns from that.
    let keeps_quiet = format!(
        "neigh replace {} lladdr {} dev {} nud permanent",
        victim.ip.v4, victim.uplink_mac, peer.uplink
    );
    let its = [format!("link set eth0 address {TWIN_MAC}"), lan::add_address(twin, "eth0")];
    [
        Script::ip(netns::CLIENT, its),
        Script::ip(&peer.namespace, [keeps_quiet]),
        Script::ip(&victim.namespace, [answered]),
    ]
}
