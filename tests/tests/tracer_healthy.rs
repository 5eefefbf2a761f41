//! Where nothing is wrong the tracer finds nothing: healthy labs, every look-alike of a fault, and
//! fifty checks in a row, some of them of a busy network.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io::{self, Write as _};

use anyhow::Result;
use tracer_tests::{
    healthy,
    lab::{LOCK_WAIT, Lab},
    lookalike::{self, LookAlike},
    matrix::Case,
    plan::{Plan, Stack},
    sample::{OF_LAB, Sample},
    seed::Shape,
    size,
    soak::Soak,
    tracer::CheckOutput,
};

/// How long each check of a look-alike looks.
const WINDOW: &str = "3s";
/// As long as an operator's check, by default.
const DEFAULT_WINDOW: &str = "5s";
/// One of so many look-alikes is played where not all of them are.
const SHARE: usize = 3;

fn lab(seed: u64, shape: &Shape) -> Lab {
    Lab::up(Plan::draw(seed, shape), LOCK_WAIT).unwrap()
}

fn of_nodes(nodes: usize, stack: Stack) -> Shape {
    Shape { nodes: Some(nodes), stack, ..Shape::default() }
}

/// Past the capture of the test harness: these lines are for the reader of a passing run too.
fn say(text: &str) {
    io::stderr().write_all(text.as_bytes()).unwrap();
}

/// Runs all cases and holds every answer against `judge`; gives one line for each that is wrong.
fn complaints(
    lab: &Lab,
    cases: &[Case],
    window: &str,
    judge: impl Fn(&Case, &CheckOutput) -> Result<()>,
) -> String {
    let folder = tempfile::tempdir().unwrap();
    let answers = lab.check_cases(cases, window, folder.path());
    let wrong = cases.iter().zip(answers).filter_map(|(case, answer)| {
        let error = answer.and_then(|answer| judge(case, &answer)).err()?;
        Some(format!("seed {}, {case}: {error:#}\n", lab.plan().seed))
    });
    wrong.collect()
}

#[test]
fn a_healthy_cluster_has_no_finding_and_every_peer_is_ok() {
    let stacks = [(301, Stack::V4), (302, Stack::Dual), (303, Stack::V6)];
    for (seed, stack) in Sample::of_environment(OF_LAB).unwrap().turn_of(stacks) {
        let lab = lab(seed, &of_nodes(3, stack));
        let plan = lab.plan();
        let _traffic = lab.traffic_all_pairs();
        let nodes = plan.all_nodes();
        let cases = Case::affordable(&nodes);
        let wrong = complaints(&lab, &cases, DEFAULT_WINDOW, |case, answer| {
            healthy::judge(plan, &nodes, case.node, answer)
        });
        assert!(wrong.is_empty(), "\n{wrong}");
    }
}

#[test]
fn a_node_alone_has_no_finding_and_no_peer() {
    let stacks = [(305, Stack::V4), (306, Stack::Dual)];
    for (seed, stack) in Sample::of_environment(OF_LAB).unwrap().turn_of(stacks) {
        let lab = lab(seed, &of_nodes(1, stack));
        let _traffic = lab.traffic_all_pairs();
        let wrong = complaints(&lab, &Case::all(&[0]), DEFAULT_WINDOW, |_, answer| {
            healthy::judge(lab.plan(), &[0], 0, answer)
        });
        assert!(wrong.is_empty(), "\n{wrong}");
    }
}

#[test]
fn no_look_alike_of_a_fault_is_taken_for_one() {
    let mut wrong = String::new();
    let share = Sample::of_environment(OF_LAB).unwrap();
    for (number, look_alike) in lookalike::all().iter().enumerate() {
        if !share.has_turn(number, SHARE) {
            continue;
        }
        let complaints = play(look_alike, 310 + number as u64);
        let verdict = if complaints.is_empty() { "ok" } else { "WRONG" };
        say(&format!("{:<28} {verdict}\n", look_alike.name));
        for line in complaints.lines() {
            wrong.push_str(&format!("{}, {line}\n", look_alike.name));
        }
    }
    say("\n");
    assert!(wrong.is_empty(), "\n{wrong}");
}

fn play(look_alike: &LookAlike, seed: u64) -> String {
    let lab = lab(seed, &(look_alike.shape)());
    let plan = lab.plan();
    let members = (look_alike.members)(plan);
    let _own = lab.set_up(look_alike).unwrap();
    let _traffic = lab.traffic_among(&members);
    let window = size::of(WINDOW, DEFAULT_WINDOW);
    complaints(&lab, &Case::most(&members), window, |case, answer| {
        healthy::judge_look_alike(look_alike, plan, case.node, answer)
    })
}

/// Fifty checks of a second each, in labs that change: steady, under load, and with what looks like a
/// fault. `cargo xtask soak` does the same for longer.
#[test]
fn fifty_healthy_checks_have_no_finding() {
    let folder = tempfile::tempdir().unwrap();
    let checks = size::of(50, 10);
    let soak = Soak { checks, seed: 304, window: "1s", folder: folder.path() };
    let wrong = soak.run(|lot| say(&format!("{lot}\n"))).unwrap();
    say("\n");
    if wrong > 0 {
        panic!("{wrong} of {checks} are wrong; evidence in {}", folder.keep().display());
    }
}
