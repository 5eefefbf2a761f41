//! `capabilities` says what this kernel gives with these privileges, no more and no less.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod dropped;
mod old;
mod types;

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tracer::{evidence::Origin, kernel::Changes, netlink, topology::Question};
use tracer_tests::{
    capabilities::{FEATURES, Kernel},
    less,
    plan::Node,
    process,
    tracer::{CheckOutput, Intent, binary, tracer_command},
};

/// Where a kernel that has kprobes says so.
const KPROBES: &str = "/sys/bus/event_source/devices/kprobe/type";
/// The columns that the text may take.
const WIDTH: usize = 100;

/// What `capabilities` said.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: i32,
    /// Feature, state and reason.
    lines: Vec<[String; 3]>,
}

// === impl Answer ===

impl Answer {
    /// Runs it in a network namespace of its own, `prepare`d to have less.
    fn get(prepare: impl Fn(&mut Command)) -> Self {
        let output = capabilities(&["--format", "json"], prepare);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["schema"], "flannel-tracer/capabilities/v1");
        let word = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
        let features = answer["features"].as_array().unwrap().iter();
        let lines = features.map(|it| ["feature", "state", "because"].map(|key| word(it, key)));
        Self { status: output.status.code().unwrap(), lines: lines.collect() }
    }

    fn state(&self, feature: &str) -> &str {
        &self.line(feature)[1]
    }

    fn because(&self, feature: &str) -> &str {
        &self.line(feature)[2]
    }

    fn line(&self, feature: &str) -> &[String; 3] {
        self.lines.iter().find(|line| line[0] == feature).unwrap()
    }

    fn features(&self) -> Vec<&str> {
        self.lines.iter().map(|line| line[0].as_str()).collect()
    }
}

fn capabilities(arguments: &[&str], prepare: impl Fn(&mut Command)) -> Output {
    tracer(&[&["capabilities"], arguments].concat(), prepare)
}

/// Runs the tracer in a network namespace of its own, `prepare`d to have less.
fn tracer(arguments: &[&str], prepare: impl Fn(&mut Command)) -> Output {
    let mut command = Command::new(binary().unwrap());
    command.args(arguments).stdin(Stdio::null());
    less::network(&mut command);
    prepare(&mut command);
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked"), "{stderr}");
    output
}

/// Runs `check` on a node of a lab, `prepare`d to have less.
fn check(node: &Node, duration: &str, prepare: impl Fn(&mut Command)) -> CheckOutput {
    let mut command = tracer_command(node).unwrap();
    command.args(["check", "--format", "json", "--duration", duration]);
    command.args(Intent::SubnetEnv.options(node));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    prepare(&mut command);
    CheckOutput::of(&process::run(&node.namespace, &mut command).unwrap()).unwrap()
}

#[test]
fn every_rung_says_what_this_kernel_has() {
    let answer = Answer::get(|_| ());
    println!("{answer:#?}");
    assert_eq!(answer.features(), FEATURES);
    assert_eq!(answer.status, 0);
    let kernel = Kernel::this().unwrap();
    for feature in FEATURES {
        let (said, because) = (answer.state(feature), answer.because(feature));
        assert_eq!(said, kernel.state(feature), "{feature}: {because}");
    }
    let drop_flows = answer.because("drop-flows");
    assert_eq!(drop_flows.contains("lockdown"), kernel.is_confidential, "{drop_flows}");
    let changes = (answer.state("changes"), answer.because("changes"));
    if Path::new(KPROBES).exists() {
        assert!(changes.0 == "on" && changes.1.contains("rtnetlink_rcv_msg"), "{changes:?}");
    } else {
        assert!(changes.0 == "off" && changes.1.contains("; lost: who changed"), "{changes:?}");
        assert!(changes.1.contains("CONFIG_KPROBE_EVENTS"), "{changes:?}");
    }
    for [feature, state, because] in &answer.lines {
        assert_eq!(because.contains("; lost: "), state != "on", "{feature}: {because}");
        assert!(!because.contains('\n') && because.len() < 600, "{feature}: {because}");
    }
}

#[test]
fn the_text_says_the_same_in_the_same_order_and_is_wrapped() {
    let text = || String::from_utf8(capabilities(&[], |_| ()).stdout).unwrap();
    let said = text();
    assert_eq!(said, text());
    assert!(said.lines().all(|line| line.chars().count() <= WIDTH), "{said}");
    let states = ["on", "degraded", "off"];
    let features: Vec<&str> = said
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (feature, state) = (words.next()?, words.next()?);
            (line.find(feature) == Some(1) && states.contains(&state)).then_some(feature)
        })
        .collect();
    assert_eq!(features, FEATURES, "{said}");
}

/// Requests of other processes are counted too: there may be more, but none is missing.
#[test]
fn the_program_on_requests_for_tables_counts_each() {
    const ASKED: u64 = 40;
    let changes = match Changes::start() {
        Ok(changes) => changes,
        Err(error) => {
            assert!(!Path::new(KPROBES).exists(), "{error}");
            return;
        }
    };
    let count = || changes.requests(libc::RTM_GETROUTE).unwrap();
    let question = || Question {
        destination: IpAddr::V4(Ipv4Addr::LOCALHOST),
        origin: Origin::Node,
        iif: None,
        source: None,
    };
    let before = count();
    let questions: Vec<Question> = (0..ASKED).map(|_| question()).collect();
    assert_eq!(netlink::ask(&questions).unwrap().len(), questions.len());
    let counted = count() - before;
    assert!(counted >= ASKED, "{}: {counted} of {ASKED}", changes.way());
    println!("{}: {counted} of {ASKED}", changes.way());
}
