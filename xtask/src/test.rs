//! `cargo xtask test`: every tier, what each found, and the sum in the last line.

mod libtest;
mod report;
mod skips;

use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use serde::Deserialize;

use self::libtest::Reader;
pub(crate) use self::report::{Report, Tally};
pub(crate) use self::skips::AllowedSkips;
use crate::build::{self, Built};
use crate::privileges::as_root;
use crate::{lint, setup, shell};

#[derive(Args)]
pub(crate) struct TestArgs {
    /// Run this tier only (repeatable)
    #[arg(long = "tier", value_enum, value_name = "TIER")]
    tiers: Vec<Tier>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Tier {
    /// Format, clippy, licences, the repository's own rules
    Lint,
    /// What needs no privileges
    Unit,
    /// The production binary in network namespaces of this kernel, as root
    Lab,
}

/// The part of cargo's messages that names a test program.
#[derive(Deserialize)]
struct Message {
    executable: Option<String>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

pub(crate) fn run(args: &TestArgs) -> Result<ExitCode> {
    let mut report = Report::new(AllowedSkips::read()?);
    setup::run()?;
    let built = build::production()?;
    let all = Tier::value_variants();
    for tier in if args.tiers.is_empty() { all } else { &args.tiers } {
        eprintln!("test: tier {tier}");
        report.add(&tier.to_string(), tier.run(&built));
    }
    print!("{}", report.text());
    Ok(report.exit_code())
}

// === impl Tier ===

impl Tier {
    /// Runs the tier; what kept it from running is a failure like any other.
    fn run(self, built: &Built) -> Tally {
        let tally = match self {
            Self::Lint => lint::check(),
            Self::Unit => unit(),
            Self::Lab => lab(built),
        };
        tally.unwrap_or_else(|error| {
            let mut tally = Tally::default();
            tally.fail(&format!("{error:#}"));
            tally
        })
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lint => "lint",
            Self::Unit => "unit",
            Self::Lab => "lab",
        })
    }
}

fn unit() -> Result<Tally> {
    let mut reader = Reader::default();
    let mut cargo = shell::cargo();
    cargo.args(["test", "--no-fail-fast", "--workspace", "--exclude", "tracer-tests"]);
    let mut succeeded = stream(&mut cargo, &mut reader)?;
    // The suites of tracer-tests are the lab tier; its library has unit tests like any other.
    let mut cargo = shell::cargo();
    cargo.args(["test", "--no-fail-fast", "-p", "tracer-tests", "--lib", "--bins"]);
    succeeded &= stream(&mut cargo, &mut reader)?;
    Ok(reader.finish(succeeded))
}

/// One suite after the other, one test at a time: there is one lab on a machine.
fn lab(built: &Built) -> Result<Tally> {
    let mut reader = Reader::default();
    let mut succeeded = true;
    for program in suites()? {
        let mut command = as_root("env", "the lab's network namespaces")?;
        command.args(built.environment()).arg(program).arg("--test-threads=1");
        command.current_dir(shell::workspace().join("tests"));
        succeeded &= stream(&mut command, &mut reader)?;
    }
    Ok(reader.finish(succeeded))
}

/// Builds the end-to-end suites, as the caller and not as root, and says where they are.
fn suites() -> Result<Vec<String>> {
    let messages = shell::output(
        shell::cargo()
            .args(["test", "-p", "tracer-tests", "--test", "*", "--no-run"])
            .arg("--message-format=json-render-diagnostics")
            .stderr(Stdio::inherit()),
    )?;
    messages.lines().filter_map(|line| test_program(line).transpose()).collect()
}

fn test_program(line: &str) -> Result<Option<String>> {
    let message: Message = serde_json::from_str(line).context("cargo's messages are not JSON")?;
    let is_test = message.profile.is_some_and(|profile| profile.test);
    Ok(message.executable.filter(|_| is_test))
}

/// Runs a command, shows its output as it comes, and has it counted; whether it ended well.
fn stream(command: &mut Command, reader: &mut Reader) -> Result<bool> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", shell::line(command)))?;
    let output = child.stdout.take().context("a pipe was asked for")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cannot read a test program's output")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        reader.read(&line);
    }
    Ok(child.wait().context("cannot wait for a test program")?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_test_programs_are_taken_from_cargo_s_messages() {
        let test = r#"{"reason":"compiler-artifact","profile":{"test":true},"executable":"/t/a"}"#;
        let plain = r#"{"reason":"compiler-artifact","profile":{"test":false},"executable":"/b"}"#;
        let other = r#"{"reason":"build-finished","success":true}"#;
        assert_eq!(test_program(test).expect("JSON"), Some("/t/a".to_owned()));
        assert_eq!(test_program(plain).expect("JSON"), None);
        assert_eq!(test_program(other).expect("JSON"), None);
        assert!(test_program("not JSON").is_err());
    }

    #[test]
    fn a_suite_is_shown_and_counted() {
        let mut reader = Reader::default();
        let mut command = shell::command("printf");
        command.arg("test result: ok. 2 passed; 0 failed; 0 ignored\n");
        assert!(stream(&mut command, &mut reader).expect("printf runs"));
        assert_eq!(reader.finish(true).passed, 2);
    }
}
