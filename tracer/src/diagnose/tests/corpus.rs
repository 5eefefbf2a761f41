//! Evidence that labs recorded (`cargo xtask lab record`): every rule on all of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::super::{RULES, diagnose, testing::told};
use crate::evidence::{Evidence, SCHEMA};

/// The list of the files, and what each has to tell.
const INDEX: &str = "index.txt";
/// In the list, for a node that tells nothing.
const NOTHING: &str = "-";
/// Most bytes of all files together.
const BYTES: u64 = 6 << 20;
/// What no lab can inject: it is the whole kernel's, or both nodes have a finding of their own then.
const NOT_IN_A_LAB: [&str; 5] = [
    "vxlan-module-missing",
    "conntrack-table-full",
    "neigh-table-overflow",
    "conntrack-insert-race",
    "node-ip-changed-peers-stale",
];
/// What a lab could, and has not yet been recorded.
const NOT_YET: &[&str] = &[
    "vip-arp-two-macs",
    "vip-arp-unanswered",
    "vip-conflicts-with-foreign-host",
    "vip-arp-suppressed-by-sysctl",
    "vip-answered-but-no-service-rules",
    "vip-answered-but-policy-drops",
    "rp-filter-drops-outer",
    "vxlan-port-mismatch",
    "vxlan-header-malformed",
    "fdb-entry-wrong-node",
    "peer-vtep-mac-changed",
    "duplicate-vtep-mac",
    "duplicate-pod-ip",
    "masquerade-rules-missing",
    // They need --probe.
    "path-mtu-blackhole",
    "outer-fragments-dropped",
    "leak-to-unassigned-cidr",
    "fw-rejects-vxlan",
    "pod-port-closed",
    "peer-vtep-not-listening",
    "vxlan-udp-checksum-bad",
    "inner-ip-damaged",
    "l3-uplink-daemon-stuck",
    "uplink-queue-overlimit",
    "pmtud-icmp-blocked",
    "dns-error-rcode",
    "dns-answer-late",
    // They need --service-cidr, or the server's node, which the recorder does not give.
    "dns-server-port-closed",
    "dns-service-no-endpoints",
    "service-no-endpoints",
    "dns-service-rules-missing",
];
/// What names no cause, or not the whole of it: with less intent a finding may become one of these.
const LESSER: [&str; 4] =
    ["tunnel-one-way", "unexplained-loss", "peer-node-unreachable-l2", "peer-node-silent"];

/// A file of the corpus.
struct Recorded {
    file: String,
    evidence: Evidence,
    /// `code subject`, or nothing.
    expected: Vec<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// What each file of the list has to tell.
fn index() -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(folder().join(INDEX)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let entry = |line: &str| {
        let (file, told) = line.split_once(' ').unwrap();
        let told = (told != NOTHING).then(|| told.to_owned());
        (file.to_owned(), Vec::from_iter(told))
    };
    lines.map(entry).collect()
}

fn files() -> BTreeSet<String> {
    let entries = fs::read_dir(folder()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != INDEX).collect()
}

fn corpus() -> Vec<Recorded> {
    let recorded = |(file, expected): (String, Vec<String>)| {
        let text = fs::read_to_string(folder().join(&file)).unwrap();
        let evidence =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        Recorded { file, evidence, expected }
    };
    index().into_iter().map(recorded).collect()
}

/// The name of a fault, and of n1 and n2 the evidence and what each has to tell.
pub(super) type Pair = (String, [(Evidence, Vec<String>); 2]);

/// The faults whose two nodes were recorded both.
pub(super) fn pairs() -> Vec<Pair> {
    let mut all: BTreeMap<String, Recorded> =
        corpus().into_iter().map(|it| (it.file.clone(), it)).collect();
    let names: Vec<String> =
        all.keys().filter_map(|it| it.strip_suffix(".n1.json")).map(str::to_owned).collect();
    let mut take = |name: &str, node: &str| {
        let one = all.remove(&format!("{name}.{node}.json"))?;
        Some((one.evidence, one.expected))
    };
    let pair = |name: String| {
        let (one, other) = (take(&name, "n1")?, take(&name, "n2")?);
        Some((name, [one, other]))
    };
    names.into_iter().filter_map(pair).collect()
}

/// The same evidence as a tracer has it that knows less: without a peers file, and without
/// subnet.env as well.
fn with_less_intent(evidence: &Evidence) -> [Evidence; 2] {
    let mut no_peers = evidence.clone();
    no_peers.intent.peers.clear();
    let mut tables_only = no_peers.clone();
    tables_only.intent.subnet_env = None;
    [no_peers, tables_only]
}

/// Whether what is told with less intent is the same or less: never something else.
fn is_less(told: &[String], expected: &[String]) -> bool {
    let lesser = expected
        .iter()
        .filter_map(|it| it.split_once(' '))
        .flat_map(|(_, subject)| LESSER.map(|code| format!("{code} {subject}")));
    let allowed: BTreeSet<String> = expected.iter().cloned().chain(lesser).collect();
    told.len() <= expected.len() && told.iter().all(|it| allowed.contains(it))
}

#[test]
fn every_file_is_listed_and_every_listed_file_is_there() {
    let listed: BTreeSet<String> = index().into_keys().collect();
    let files = files();
    let only_in_one: Vec<&String> = files.symmetric_difference(&listed).collect();
    assert!(
        only_in_one.is_empty(),
        "listed without a file, or a file without a line: {only_in_one:?}"
    );
}

#[test]
fn every_recorded_node_tells_its_finding_and_no_other() {
    let mut wrong = String::new();
    for Recorded { file, evidence, expected } in corpus() {
        assert_eq!(evidence.schema, SCHEMA, "{file}");
        let told = told(&diagnose(&evidence));
        if told != expected {
            wrong.push_str(&format!("{file}: {told:?}, not {expected:?}\n"));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn less_intent_gives_less_and_never_something_else() {
    let mut wrong = String::new();
    for Recorded { file, evidence, expected } in corpus() {
        for less in with_less_intent(&evidence) {
            let told = told(&diagnose(&less));
            if !is_less(&told, &expected) {
                wrong.push_str(&format!("{file}: {told:?}, not {expected:?} or less\n"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn every_rule_that_a_lab_can_inject_has_been_recorded() {
    let told: BTreeSet<String> = index().into_values().flatten().collect();
    let is_told = |code: &str| told.iter().any(|it| it.starts_with(&format!("{code} ")));
    let missing: Vec<&str> = RULES
        .iter()
        .map(|rule| rule.code)
        .filter(|code| !NOT_IN_A_LAB.contains(code) && !NOT_YET.contains(code) && !is_told(code))
        .collect();
    assert!(missing.is_empty(), "no file tells {missing:?}: cargo xtask lab record");
}

#[test]
fn healthy_nodes_are_recorded_too() {
    let healthy = index().into_values().filter(Vec::is_empty).count();
    assert!(healthy > 20, "{healthy} files of nodes with nothing to tell");
}

#[test]
fn the_corpus_stays_small() {
    let sizes = files().into_iter().map(|file| fs::metadata(folder().join(file)).unwrap().len());
    let sum: u64 = sizes.sum();
    assert!(sum < BYTES, "{sum} bytes");
}
