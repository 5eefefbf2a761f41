//! What has to hold on every kernel, in few minutes: what the kernel offers is used, a healthy
//! lab is healthy, and every fault is told once, on the node that has it and on the others.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    io::{self, Write as _},
    process::Command,
};

use anyhow::{Result, ensure};
use serde_json::Value;
use tracer_tests::{
    expect::{Injected, no_finding, observed, peers_are_ok},
    fault::{self, Fault},
    lab::{LOCK_WAIT, Lab},
    matrix::{Attach, Case},
    plan::Plan,
    seed::Shape,
    tracer::{CheckOutput, Intent, binary},
};

/// How long each check looks. Longer than in the other suites: the guest may be interpreted, and
/// a one-way tunnel is told by the packets of the window.
const WINDOW: &str = "5s";

fn lab(seed: u64, nodes: usize) -> Lab {
    let shape = Shape { nodes: Some(nodes), ..Shape::default() };
    Lab::up(Plan::draw(seed, &shape), LOCK_WAIT).unwrap()
}

/// Past the capture of the test harness: these lines are for the reader of a passing run too.
fn say(text: &str) {
    io::stderr().write_all(text.as_bytes()).unwrap();
}

#[test]
fn capabilities_are_those_of_this_kernel() {
    let output = Command::new(binary().unwrap())
        .args(["capabilities", "--format", "json"])
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    say(&format!("\n{answer}\n"));
    let state = |feature: &str| {
        let features = answer["features"].as_array().unwrap();
        let found = features.iter().find(|it| it["feature"] == feature).unwrap();
        found["state"].as_str().unwrap().to_owned()
    };
    assert_eq!([state("tables"), state("stages"), state("clsact")], ["on", "on", "on"]);
    let has_tcx = Attach::on_this_kernel().contains(&Attach::Tcx);
    assert_eq!(state("tcx"), if has_tcx { "on" } else { "off" });
}

#[test]
fn a_healthy_lab_is_healthy_by_every_way_to_attach() {
    let lab = lab(901, 2);
    let _traffic = lab.traffic_all_pairs();
    let mut cases = Case::all(&[0, 1]);
    cases.retain(|case| case.intent == Intent::SubnetEnv);
    let wrong = complaints(&lab, &cases, |case, answer| {
        no_finding(answer)?;
        observed(answer)?;
        peers_are_ok(lab.plan(), &lab.plan().others(case.node), answer)?;
        let attached = &answer.json["capabilities"];
        ensure!(
            attached.to_string().contains(case.attach.name()),
            "attached otherwise: {attached}"
        );
        Ok(())
    });
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn every_fault_is_told() {
    let lab = lab(902, 3);
    let _traffic = lab.traffic_all_pairs();
    let mut wrong = String::new();
    for fault in fault::all() {
        let complaints = every_node_tells(&lab, &fault);
        say(&format!(
            "\n{:<36} {}",
            fault.name,
            if complaints.is_empty() { "ok" } else { "WRONG" }
        ));
        wrong.push_str(&complaints);
        lab.wait_connected(&lab.plan().all_nodes()).unwrap();
    }
    say("\n");
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// One line for each node that says something else.
fn every_node_tells(lab: &Lab, fault: &Fault) -> String {
    let (plan, site) = (lab.plan(), lab.plan().site);
    let injection = lab.inject(fault, site).unwrap();
    let injected = Injected { plan, fault, site };
    let best = *Attach::on_this_kernel().first().unwrap();
    let mut cases = Case::all(&plan.all_nodes());
    cases.retain(|case| case.intent == Intent::SubnetEnv && case.attach == best);
    let wrong = complaints(lab, &cases, |case, answer| {
        injected.judge(case.node, case.intent, answer).map(|_| ())
    });
    injection.heal().unwrap();
    let story = fault.story(plan, site);
    wrong.lines().map(|line| format!("{} ({story}): {line}\n", fault.name)).collect()
}

/// Runs all cases; one line for each answer that does not please `judge`.
fn complaints(
    lab: &Lab,
    cases: &[Case],
    judge: impl Fn(&Case, &CheckOutput) -> Result<()>,
) -> String {
    let folder = tempfile::tempdir().unwrap();
    let answers = lab.check_cases(cases, WINDOW, folder.path());
    assert!(!cases.is_empty());
    let wrong = cases.iter().zip(answers).filter_map(|(case, answer)| {
        let error = answer.and_then(|answer| judge(case, &answer)).err()?;
        Some(format!("seed {}, {case}: {error:#}\n", lab.plan().seed))
    });
    wrong.collect()
}
