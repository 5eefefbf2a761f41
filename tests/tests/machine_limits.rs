//! Tables of the kernel that have no room, for all nodes of the machine: in a guest of QEMU they are made
//! small, on any other machine recorded evidence says so.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tracer_tests::{
    expect,
    kernel_module::in_guest,
    lab::{LOCK_WAIT, Lab},
    lan,
    machine::Limits,
    plan::{Family, Plan, SYSLOG_PORT},
    seed::Shape,
    tracer::{CheckOutput, Intent, binary},
    traffic::{self, Flow, Sender, Traffic},
};

/// Longer than a neighbour is asked for.
const WINDOW: &str = "6s";
/// What a peer's fault looks like from here.
const OF_PEERS: [&str; 2] = ["unexplained-loss", "tunnel-one-way"];
const CONNECTIONS: &str = "net.netfilter.nf_conntrack_max";

fn lab(seed: u64) -> Lab {
    let shape = Shape { nodes: Some(2), ..Shape::default() };
    Lab::up(Plan::draw(seed, &shape), LOCK_WAIT).unwrap()
}

/// Every node says this of itself. As its peers have the fault too, what it asks of them may be lost
/// there, and it sees no more of that.
fn assert_told_by_all(lab: &Lab, code: &str) {
    for node in lab.plan().all_nodes() {
        let mut answer = lab.check(node, Intent::SubnetEnv, &["--duration", WINDOW]).unwrap();
        let findings = answer.json["findings"].as_array_mut().unwrap();
        findings.retain(|it| !OF_PEERS.contains(&it["code"].as_str().unwrap()));
        is_told(lab, node, code, &answer).unwrap();
    }
}

fn is_told(lab: &Lab, node: usize, code: &str, answer: &CheckOutput) -> Result<()> {
    let name = &lab.plan().nodes[node].name;
    let told = || format!("on {name}: {}\n{}", answer.json["findings"], answer.json["statistics"]);
    expect::only(&[(code, name)], answer).with_context(told)
}

fn assert_nothing(lab: &Lab) {
    for node in lab.plan().all_nodes() {
        let answer = lab.check(node, Intent::SubnetEnv, &["--duration", WINDOW]).unwrap();
        expect::only(&[], &answer).with_context(|| answer.json.to_string()).unwrap();
    }
}

/// What a node that is healthy would say, were its statistics others.
fn assert_told_where(lab: &Lab, code: &str, change: impl Fn(&mut Value)) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("evidence.json");
    let extra = ["--duration", "2s", "--save", file.to_str().unwrap()];
    let answer = lab.check(0, Intent::SubnetEnv, &extra).unwrap();
    expect::only(&[], &answer).unwrap();
    let mut evidence: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    change(&mut evidence["statistics"]);
    fs::write(&file, evidence.to_string()).unwrap();
    is_told(lab, 0, code, &judged_again(&file)).unwrap();
}

fn judged_again(file: &Path) -> CheckOutput {
    let mut check = Command::new(binary().unwrap());
    let output = check.args(["check", "--format", "json", "--from"]).arg(file).output().unwrap();
    CheckOutput::of(&output).unwrap()
}

/// Pods begin a connection with every datagram.
fn churn(plan: &Plan) -> Vec<Sender> {
    let pods: Vec<_> = plan.nodes.iter().filter_map(|node| node.first_pod()).collect();
    let to = pods[0].at(Family::V4, SYSLOG_PORT);
    let flow = Flow::UdpManyFlows { to, first_port: 20_000 };
    let limits = traffic::Limits::steady(20.0);
    let sender = |pod: &&tracer_tests::plan::Pod| Sender {
        namespace: pod.namespace.clone(),
        flow: flow.clone(),
        limits,
    };
    pods[1..].iter().map(sender).collect()
}

/// Nodes ask for machines of the LAN that they have not heard of, by the last part of an address that no
/// plan gives to anybody.
fn strangers(plan: &Plan, numbers: [u8; 2]) -> Vec<Sender> {
    let sender = |node: &tracer_tests::plan::Node, number| Sender {
        namespace: node.namespace.clone(),
        flow: Flow::Ping { to: lan::host(plan, number).of(Family::V4), ttl: 64 },
        limits: traffic::Limits::steady(5.0),
    };
    plan.nodes.iter().flat_map(|node| numbers.map(|number| sender(node, number))).collect()
}

#[test]
fn a_full_table_of_connections() {
    let (lab, code) = (lab(960), "conntrack-table-full");
    let _traffic = lab.traffic_all_pairs();
    if !in_guest() {
        return assert_told_where(&lab, code, |statistics| {
            statistics["conntrack"] =
                json!({ "entries": 99, "most": 100, "dropped": 7, "insert_failed": 0 });
        });
    }
    let _churn = Traffic::start(churn(lab.plan()));
    assert_nothing(&lab);
    let full = Limits::set(&[(CONNECTIONS, 2)]).unwrap();
    assert_told_by_all(&lab, code);
    drop(full);
    lab.wait_connected(&lab.plan().all_nodes()).unwrap();
}

#[test]
fn a_full_table_of_neighbours() {
    let (lab, code) = (lab(961), "neigh-table-overflow");
    let _traffic = lab.traffic_all_pairs();
    if !in_guest() {
        return assert_told_where(&lab, code, |statistics| {
            statistics["neighbour_tables"] =
                json!([{ "family": 4, "entries": 1024, "most": 1024, "refused": 7 }]);
        });
    }
    let _known = Traffic::start(strangers(lab.plan(), [8, 9]));
    assert_nothing(&lab);
    let threshold = |number| format!("net.ipv4.neigh.default.gc_thresh{number}");
    let [one, two, three] = [1, 2, 3].map(threshold);
    let full = Limits::set(&[(&one, 1), (&two, 1), (&three, 1)]).unwrap();
    let _new = Traffic::start(strangers(lab.plan(), [6, 7]));
    assert_told_by_all(&lab, code);
    drop(full);
    lab.wait_connected(&lab.plan().all_nodes()).unwrap();
}
