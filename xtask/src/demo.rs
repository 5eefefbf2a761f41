//! `cargo xtask demo`: break a lab, show what the tracer says, clean up.

use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use tracer_tests::drawing;
use tracer_tests::fault::{self, Fault, Injection};
use tracer_tests::lab::Lab;
use tracer_tests::lookalike::{self, LookAlike};
use tracer_tests::plan::Plan;
use tracer_tests::process;
use tracer_tests::seed::{self, Shape};
use tracer_tests::state;
use tracer_tests::tracer::{CheckOutput, Intent, binary, tracer_command};
use tracer_tests::traffic::Traffic;

/// How long to wait for another lab on this machine to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the tracer looks at the node, as `--duration` takes it.
const WINDOW: &str = "4s";

/// Break a lab, show what the tracer says, and clean up.
#[derive(Args)]
pub(crate) struct DemoArgs {
    /// A fault or a healthy look-alike that `cargo xtask lab list` shows
    #[arg(default_value = "pod-route-missing", conflicts_with = "healthy")]
    name: String,
    /// Break nothing: the tracer must find nothing
    #[arg(long)]
    healthy: bool,
    /// What the lab is drawn from; another one each time when not given
    #[arg(long)]
    seed: Option<u64>,
    /// Only the tracer's JSON on stdout, everything else on stderr
    #[arg(long)]
    json: bool,
}

/// What is played.
enum Scene {
    Healthy,
    Broken(Fault),
    LooksBroken(LookAlike),
}

/// What is undone when the demo ends.
struct Props {
    _fault: Option<Injection>,
    _own_traffic: Option<Traffic>,
    _traffic: Traffic,
}

pub(crate) fn run(args: DemoArgs) -> Result<ExitCode> {
    // Before anything is built: a missing tracer would be noticed only at the end.
    binary()?;
    let scene = Scene::of(&args)?;
    let plan = Plan::draw(args.seed.unwrap_or_else(seed::random), &scene.shape());
    let node = scene.node(&plan);
    let (expected, status) = (scene.expected(&plan), scene.exit_status());
    let say = |text: &str| if args.json { eprint!("{text}") } else { print!("{text}") };
    say(&drawing::draw(&plan));
    let lab = Lab::up(plan, PATIENCE)?;
    say(&format!("{}\n\n", scene.story(lab.plan())));
    let props = scene.set_up(&lab)?;
    let answer = if args.json { ask_for_json(&lab, node) } else { ask_for_text(&lab, node) }?;
    drop(props);
    drop(lab);
    match judge(&answer, &expected, status) {
        Ok(()) => {
            say(&format!("\nas expected: {}\n", in_words(&expected)));
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("\ndemo: {error}");
            Ok(ExitCode::FAILURE)
        }
    }
}

// === impl Scene ===

impl Scene {
    fn of(args: &DemoArgs) -> Result<Self> {
        if args.healthy {
            return Ok(Self::Healthy);
        }
        if let Ok(look_alike) = lookalike::named(&args.name) {
            return Ok(Self::LooksBroken(look_alike));
        }
        fault::named(&args.name).map(Self::Broken)
    }

    /// A fault or a healthy cluster needs a peer to be seen.
    fn shape(&self) -> Shape {
        match self {
            Self::Healthy => Shape { min_nodes: 2, ..Shape::default() },
            Self::Broken(fault) => Shape { min_nodes: fault.nodes.max(2), ..Shape::default() },
            Self::LooksBroken(look_alike) => (look_alike.shape)(),
        }
    }

    fn members(&self, plan: &Plan) -> Vec<usize> {
        match self {
            Self::Healthy | Self::Broken(_) => plan.all_nodes(),
            Self::LooksBroken(look_alike) => (look_alike.members)(plan),
        }
    }

    /// The node that the tracer looks at: the victim, unless it has left the cluster.
    fn node(&self, plan: &Plan) -> usize {
        let members = self.members(plan);
        if members.contains(&plan.site.victim) { plan.site.victim } else { plan.site.peer }
    }

    /// Code and `subject.key` of all findings there.
    fn expected(&self, plan: &Plan) -> Vec<(String, String)> {
        match self {
            Self::Healthy | Self::LooksBroken(_) => Vec::new(),
            Self::Broken(fault) => {
                let expected = fault.here(plan, plan.site);
                vec![(expected.code.to_owned(), expected.key)]
            }
        }
    }

    /// With what `check` exits there.
    fn exit_status(&self) -> i32 {
        match self {
            Self::Healthy | Self::LooksBroken(_) => 0,
            Self::Broken(fault) => fault.exit_status(),
        }
    }

    fn story(&self, plan: &Plan) -> String {
        match self {
            Self::Healthy => "everything is healthy".to_owned(),
            Self::Broken(fault) => fault.story(plan, plan.site),
            Self::LooksBroken(look_alike) => format!("healthy: {}", look_alike.summary),
        }
    }

    /// The traffic starts after the fault, so that the tracer has seen nothing before it either.
    fn set_up(&self, lab: &Lab) -> Result<Props> {
        let mut props =
            Props { _fault: None, _own_traffic: None, _traffic: Traffic::start(Vec::new()) };
        match self {
            Self::Healthy => {}
            Self::Broken(fault) => props._fault = Some(lab.inject(fault, lab.plan().site)?),
            Self::LooksBroken(look_alike) => props._own_traffic = Some(lab.set_up(look_alike)?),
        }
        props._traffic = lab.traffic_among(&self.members(lab.plan()));
        Ok(props)
    }
}

fn ask_for_json(lab: &Lab, node: usize) -> Result<CheckOutput> {
    let answer = lab.check(node, Intent::SubnetEnv, &["--duration", WINDOW])?;
    eprint!("{}", answer.stderr);
    println!("{:#}", answer.json);
    Ok(answer)
}

/// The text goes straight to the terminal. For the verdict the evidence is saved and judged again,
/// which takes no time and must give the same findings.
fn ask_for_text(lab: &Lab, node: usize) -> Result<CheckOutput> {
    let evidence = state::file("demo-evidence.json");
    let node = &lab.plan().nodes[node];
    let mut command = tracer_command(node)?;
    command
        .arg("check")
        .args(Intent::SubnetEnv.options(node))
        .args(["--format", "text", "--duration", WINDOW, "--save"])
        .arg(&evidence);
    let status = process::run(&node.namespace, &mut command)?.status;
    let mut again = tracer_command(node)?;
    again.args(["check", "--format", "json", "--from"]).arg(&evidence).stdout(Stdio::piped());
    let again = process::run(&node.namespace, &mut again)?;
    let status = status.code().context("check was ended by a signal")?;
    Ok(CheckOutput { status, ..CheckOutput::of(&again)? })
}

/// Exactly the expected findings and exit status.
fn judge(answer: &CheckOutput, expected: &[(String, String)], status: i32) -> Result<()> {
    let found: Vec<(String, String)> = answer
        .findings()
        .into_iter()
        .map(|(code, key)| (code.to_owned(), key.to_owned()))
        .collect();
    if found != expected || answer.status != status {
        bail!(
            "expected {} and exit {status}, the tracer said {} and exit {}",
            in_words(expected),
            in_words(&found),
            answer.status
        )
    }
    Ok(())
}

fn in_words(findings: &[(String, String)]) -> String {
    if findings.is_empty() {
        return "no finding".to_owned();
    }
    let words: Vec<String> = findings.iter().map(|(code, key)| format!("{code} {key}")).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: i32, codes: &[&str]) -> CheckOutput {
        let findings: Vec<_> =
            codes.iter().map(|code| json!({"code": code, "subject": {"key": "k"}})).collect();
        CheckOutput { status, json: json!({ "findings": findings }), stderr: String::new() }
    }

    fn expected(codes: &[&str]) -> Vec<(String, String)> {
        codes.iter().map(|code| ((*code).to_owned(), "k".to_owned())).collect()
    }

    #[test]
    fn only_exactly_the_expected_findings_pass() {
        judge(&answer(1, &["a"]), &expected(&["a"]), 1).unwrap();
        judge(&answer(0, &["info"]), &expected(&["info"]), 0).unwrap();
        judge(&answer(0, &[]), &expected(&[]), 0).unwrap();
        let refused = [
            (answer(1, &["a", "b"]), expected(&["a"])),
            (answer(1, &["b"]), expected(&["a"])),
            (answer(1, &[]), expected(&["a"])),
            (answer(1, &["a"]), expected(&[])),
        ];
        for (answer, expected) in refused {
            judge(&answer, &expected, 1).unwrap_err();
        }
    }

    #[test]
    fn the_exit_status_counts_as_well() {
        let error = judge(&answer(2, &[]), &expected(&[]), 0).unwrap_err().to_string();
        assert!(error.contains("expected no finding and exit 0") && error.contains("exit 2"));
        judge(&answer(0, &["a"]), &expected(&["a"]), 1).unwrap_err();
    }
}
