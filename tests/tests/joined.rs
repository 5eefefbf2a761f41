//! The evidence of several nodes, judged together by `check --from A --from B` as nobody: what no
//! node can say alone. All nodes look at the same time, under traffic.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::PathBuf,
    process::{Command, Output},
    thread,
};

use serde_json::Value;
use tempfile::TempDir;
use tracer_tests::{
    fault::{self, Injection},
    lab::{LOCK_WAIT, Lab},
    lan::{
        loss,
        narrow::{plain_switch, port_mtu, uplink_mtu, without_fragments},
    },
    plan::{Family, Node, Plan, SYSLOG_PORT, Stack},
    sample::{OF_LAB, Sample},
    seed::Shape,
    size,
    tracer::{CheckOutput, Intent, binary},
    traffic::{Flow, Limits, Sender, Traffic},
};

/// How long each check looks.
const WINDOW: [&str; 2] = ["4s", "8s"];
/// A link that is too small for full packets, which TCP over IPv6 still passes.
const NARROW: u32 = 1400;
/// Bytes of payload that do not fit into such a link once they are encapsulated, and into others do.
const LARGE: usize = 1360;
/// The user `nobody`, who may nothing.
const NOBODY: u32 = 65534;
/// Columns of a terminal.
const WIDTH: usize = 100;

/// Evidence of several nodes where everybody may read it, and a tracer beside it.
struct Saved {
    folder: TempDir,
    files: Vec<PathBuf>,
}

// === impl Saved ===

impl Saved {
    /// Runs `check` on these nodes at the same time.
    fn of(lab: &Lab, nodes: &[usize], intent: Intent) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        fs::copy(binary().unwrap(), folder.path().join("flannel-tracer")).unwrap();
        let file = |node: &usize| folder.path().join(format!("{node}.json"));
        let files: Vec<PathBuf> = nodes.iter().map(file).collect();
        thread::scope(|scope| {
            for (node, file) in nodes.iter().zip(&files) {
                let window = size::of(WINDOW[0], WINDOW[1]);
                let extra = ["--duration", window, "--save", file.to_str().unwrap()];
                scope.spawn(move || lab.check(*node, intent, &extra).unwrap());
            }
        });
        for file in &files {
            fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
        }
        Self { folder, files }
    }

    fn judged_as(&self, format: &str) -> Output {
        let from = self.files.iter().flat_map(|file| ["--from".as_ref(), file.as_os_str()]);
        let mut command = Command::new(self.folder.path().join("flannel-tracer"));
        command.args(["check", "--format", format]).args(from).uid(NOBODY).gid(NOBODY);
        command.output().unwrap()
    }

    fn judged(&self) -> CheckOutput {
        CheckOutput::of(&self.judged_as("json")).unwrap()
    }

    fn text(&self) -> String {
        let text = String::from_utf8(self.judged_as("text").stdout).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        text
    }
}

fn lab(seed: u64, nodes: usize, stack: Stack) -> Lab {
    let shape = Shape { nodes: Some(nodes), stack, ..Shape::default() };
    Lab::up(Plan::draw(seed, &shape), LOCK_WAIT).unwrap()
}

/// The key of a node: its first pod CIDR.
fn key(plan: &Plan, node: &Node) -> String {
    node.subnet.of(plan.families()[0]).to_string()
}

/// Node, code and subject of every finding.
fn told(answer: &CheckOutput) -> BTreeSet<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("(none)").to_owned();
    let findings = answer.json["findings"].as_array().unwrap();
    let words = |it: &Value| (text(&it["node"]), text(&it["code"]), text(&it["subject"]["key"]));
    findings.iter().map(words).collect()
}

/// The states of the ways from one node to another, by their keys.
fn states(answer: &CheckOutput, from: &str, to: &str) -> Vec<String> {
    let rows = answer.json["peers"].as_array().unwrap().iter();
    let rows = rows.filter(|row| row["seen_from"] == from && row["key"] == to);
    rows.map(|row| row["state"].as_str().unwrap().to_owned()).collect()
}

/// Every change plays one lab of each kind of test, and `cargo xtask test --all` all of them.
fn share() -> Sample {
    Sample::of_environment(OF_LAB).unwrap()
}

#[test]
fn healthy_nodes_find_nothing_together_and_every_way_is_ok() {
    for (seed, nodes, stack) in share().turn_of([(430, 2, Stack::Dual), (431, 3, Stack::V4)]) {
        let lab = lab(seed, nodes, stack);
        let all = lab.plan().all_nodes();
        let _traffic = lab.traffic_all_pairs();
        for intent in [Intent::Nothing, Intent::PeersFile] {
            let saved = Saved::of(&lab, &all, intent);
            let answer = saved.judged();
            assert_eq!(
                (answer.status, answer.findings()),
                (0, vec![]),
                "{}",
                answer.json["unseen"]
            );
            let rows = answer.json["peers"].as_array().unwrap();
            assert_eq!(rows.len(), nodes * (nodes - 1) * lab.plan().families().len());
            assert!(rows.iter().all(|row| row["state"] == "ok"), "{rows:#?}");
            assert_eq!(answer.json["nodes"].as_array().unwrap().len(), nodes);
            let text = saved.text();
            assert!(text.ends_with(&format!("no finding, {nodes} nodes, exit 0\n")), "{text}");
        }
    }
}

#[test]
fn a_route_that_is_missing_on_the_peer_is_told_of_both() {
    for (seed, stack) in share().turn_of([(432, Stack::V4), (433, Stack::V6)]) {
        let lab = lab(seed, 3, stack);
        let plan = lab.plan();
        let _traffic = lab.traffic_all_pairs();
        let route = fault::named("pod-route-missing").unwrap();
        let _injection = lab.inject(&route, plan.site).unwrap();
        let saved = Saved::of(&lab, &plan.all_nodes(), Intent::Nothing);
        let answer = saved.judged();
        let (victim, peer) = (key(plan, plan.victim()), key(plan, plan.peer()));
        let expected = [
            (victim.clone(), "pod-route-missing".to_owned(), peer.clone()),
            (peer.clone(), "return-route-missing-on-peer".to_owned(), victim.clone()),
        ];
        assert_eq!(told(&answer), BTreeSet::from(expected), "seed {seed}\n{}", saved.text());
        assert_eq!(answer.status, 1);
        assert_eq!(states(&answer, &victim, &peer), ["broken"]);
        assert_eq!(states(&answer, &peer, &victim), ["broken"]);
    }
}

#[test]
fn what_one_node_proves_the_other_does_not_tell_again() {
    let lab = lab(434, 2, Stack::V4);
    let plan = lab.plan();
    let (victim, peer) = (key(plan, plan.victim()), key(plan, plan.peer()));
    let _traffic = lab.traffic_all_pairs();
    for (name, subject) in [
        ("fdb-entry-missing", peer.clone()),
        ("underlay-neighbour-wrong-mac", peer.clone()),
        ("flannel-link-down", plan.overlay(Family::V4)),
        ("cni0-down", plan.victim().bridge.clone()),
    ] {
        let fault = fault::named(name).unwrap();
        let injection = lab.inject(&fault, plan.site).unwrap();
        let saved = Saved::of(&lab, &plan.all_nodes(), Intent::SubnetEnv);
        let answer = saved.judged();
        let expected = BTreeSet::from([(victim.clone(), fault.code.to_owned(), subject)]);
        assert_eq!(told(&answer), expected, "{name}\n{}", saved.text());
        // Without the bridge the node itself still answers: packets come from there.
        let state = if name == "cni0-down" { "ok" } else { "broken" };
        assert_eq!(states(&answer, &peer, &victim), [state], "{name}");
        injection.heal().unwrap();
    }
}

#[test]
fn a_network_that_loses_the_tunnel_between_two_of_three_nodes_is_named() {
    for (seed, stack) in share().turn_of([(435, Stack::V4), (436, Stack::V6)]) {
        let lab = lab(seed, 3, stack);
        let plan = lab.plan();
        let _traffic = lab.traffic_all_pairs();
        let (one, other) = (&plan.nodes[0], &plan.nodes[1]);
        let directions: [(&[(&Node, &Node)], &str); 3] = [
            (&[(one, other), (other, one)], "in both directions"),
            (&[(one, other)], "from n1"),
            (&[(other, one)], "from n2"),
        ];
        for (pairs, words) in directions {
            loss::begin(plan, pairs).run().unwrap();
            let saved = Saved::of(&lab, &plan.all_nodes(), Intent::Nothing);
            let answer = saved.judged();
            loss::end().run().unwrap();
            let expected = told_of_the_pair(plan, &answer);
            assert_eq!(told(&answer), expected, "seed {seed}, {words}\n{}", saved.text());
            let title = answer.json["findings"][0]["title"].as_str().unwrap();
            assert!(title.contains(words), "{title}");
            let (one, third) = (key(plan, one), key(plan, &plan.nodes[2]));
            assert_eq!(states(&answer, &one, &third), ["ok"]);
        }
    }
}

/// One finding about the two nodes, at either of them.
fn told_of_the_pair(plan: &Plan, answer: &CheckOutput) -> BTreeSet<(String, String, String)> {
    let [one, other] = [0, 1].map(|it| key(plan, &plan.nodes[it]));
    let at_other = answer.json["findings"][0]["node"] == other.as_str();
    let (node, subject) = if at_other { (other, one) } else { (one, other) };
    BTreeSet::from([(node, "underlay-drops-vxlan".to_owned(), subject)])
}

/// Large datagrams from a pod of the victim to one of the peer, beside all that the lab sends.
fn large_datagrams(plan: &Plan, family: Family) -> Sender {
    let [from, to] = [plan.victim(), plan.peer()].map(|node| node.first_pod().unwrap());
    let flow = Flow::UdpOneWay { to: to.at(family, SYSLOG_PORT), size: LARGE };
    Sender { namespace: from.namespace.clone(), flow, limits: Limits::steady(20.0) }
}

/// Both nodes answer everything that is small: only their counts tell.
#[test]
fn large_packets_that_the_network_loses_are_told_by_both_ends() {
    for (seed, stack) in share().turn_of([(438, Stack::V4), (439, Stack::V6)]) {
        let shape = Shape { nodes: Some(2), stack, uplink_mtu: 1500, ..Shape::default() };
        let lab = Lab::up(Plan::draw(seed, &shape), LOCK_WAIT).unwrap();
        let (plan, family) = (lab.plan(), lab.plan().families()[0]);
        let (victim, peer) = (key(plan, plan.victim()), key(plan, plan.peer()));
        let _traffic = lab.traffic_all_pairs();
        let _large = Traffic::start(vec![large_datagrams(plan, family)]);
        let judged = || Saved::of(&lab, &plan.all_nodes(), Intent::Nothing).judged();
        assert_eq!(told(&judged()), BTreeSet::new(), "seed {seed}: large packets pass");

        let narrow = [plain_switch(), port_mtu(plan.peer(), NARROW)];
        let narrow = Injection::apply(&narrow, vec![port_mtu(plan.peer(), 1500)]).unwrap();
        let about = |code: &str| (victim.clone(), code.to_owned(), peer.clone());
        let answer = judged();
        assert_eq!(told(&answer), BTreeSet::from([about("path-mtu-blackhole")]), "seed {seed}");
        assert_eq!(answer.json["findings"][0]["confidence"], "likely");
        assert_eq!(states(&answer, &victim, &peer), ["broken"]);
        drop(narrow);

        if family == Family::V4 {
            let small = [uplink_mtu(plan.victim(), NARROW)];
            let _small = Injection::apply(&small, vec![uplink_mtu(plan.victim(), 1500)]).unwrap();
            let fragmenting =
                (victim.clone(), "tunnel-fragments-outer".to_owned(), plan.overlay(family));
            assert_eq!(told(&judged()), BTreeSet::from([fragmenting.clone()]), "fragments pass");
            let (dropping, gone) = without_fragments();
            let _dropping = Injection::apply(&[plain_switch(), dropping], vec![gone]).unwrap();
            let expected = BTreeSet::from([about("outer-fragments-dropped"), fragmenting]);
            assert_eq!(told(&judged()), expected, "seed {seed}");
        }
    }
}

#[test]
fn the_same_node_twice_is_refused_in_one_line() {
    let lab = lab(437, 2, Stack::V4);
    let mut saved = Saved::of(&lab, &[0, 1], Intent::SubnetEnv);
    saved.files[1] = saved.files[0].clone();
    let refused = saved.judged_as("json");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(3), 0), "{said}");
    assert!(said.lines().count() == 1 && said.contains("was given twice"), "{said}");
}
