//! `cargo xtask test`: every tier, what each found, and the sum in the last line.

mod libtest;
mod page;
mod report;
mod skips;
mod slow;

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use serde::Deserialize;
use tracer_tests::published::FOLDER_VARIABLE;
use tracer_tests::sample::SEED_VARIABLE;
use tracer_tests::seed;

use self::libtest::Reader;
use self::page::Tables;
pub(crate) use self::report::{Report, Tally};
pub(crate) use self::skips::AllowedSkips;
use self::slow::SlowTests;
use crate::build::{self, Built};
use crate::page::writable;
use crate::privileges::as_root;
use crate::{lint, setup, shell, vm};

/// The unit tier: libraries and programs, the parser's properties, examples in the documentation.
/// Never a package by itself: its dependencies would be built once more, with fewer features.
const UNIT: [&[&str]; 2] =
    [&["--workspace", "--lib", "--bins", "--test", "properties*"], &["--workspace", "--doc"]];

#[derive(Args)]
pub(crate) struct TestArgs {
    /// Run this tier only (repeatable)
    #[arg(long = "tier", value_enum, value_name = "TIER")]
    tiers: Vec<Tier>,
    /// Every fault in every lab, and every suite on every kernel: hours
    #[arg(long)]
    all: bool,
    /// What the share of faults is drawn from without --all; by default the commit
    #[arg(long, conflicts_with = "all")]
    seed: Option<u64>,
    /// Write what was shown to a file too, as Markdown with the date
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Tier {
    /// Format, clippy, licences, the repository's own rules
    Lint,
    /// What needs no privileges
    Unit,
    /// The production binary in network namespaces of this kernel, as root
    Lab,
    /// The same on other kernels, in guests of QEMU
    Vm,
}

/// What the guests of the tier `vm` run; it is not run twice.
const OF_GUESTS: &str = "smoke";

/// The part of cargo's messages that names a test program.
#[derive(Deserialize)]
struct Message {
    executable: Option<String>,
    manifest_path: Option<PathBuf>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// A test program of its own.
#[derive(Debug)]
pub(crate) struct Suite {
    pub(crate) executable: String,
    manifest: PathBuf,
}

pub(crate) fn run(args: &TestArgs) -> Result<ExitCode> {
    let mut report = Report::new(AllowedSkips::read()?);
    // Before the tiers have run for an hour.
    let file = args.write.as_deref().map(writable).transpose()?;
    setup::run()?;
    let seed = (!args.all).then(|| args.seed.unwrap_or_else(of_commit));
    if let Some(seed) = seed {
        eprintln!("test: faults drawn from --seed {seed}");
    }
    let mut tables = Tables::new()?;
    for tier in if args.tiers.is_empty() { Tier::value_variants() } else { &args.tiers } {
        eprintln!("test: tier {tier}");
        let started = Instant::now();
        report.add(&tier.to_string(), tier.run(seed, &mut tables));
        eprintln!("test: tier {tier} took {} s", started.elapsed().as_secs());
    }
    print!("{}", report.text());
    if let Some(file) = file {
        let page = page::page(&args.words(seed), &report.text(), &tables);
        fs::write(&file, page).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(report.exit_code())
}

/// Another share of the faults for every commit, and the same when it is tested again.
fn of_commit() -> u64 {
    let commit = shell::output(shell::command("git").args(["rev-parse", "--short=8", "HEAD"]));
    let number = commit.ok().and_then(|it| u64::from_str_radix(it.trim(), 16).ok());
    number.unwrap_or_else(seed::random)
}

// === impl TestArgs ===

impl TestArgs {
    /// The options that say what ran, as they would be given.
    fn words(&self, seed: Option<u64>) -> String {
        let tiers = self.tiers.iter().map(|tier| format!(" --tier {tier}"));
        let seed = seed.map(|seed| format!(" --seed {seed}"));
        self.all.then(|| " --all".to_owned()).into_iter().chain(tiers).chain(seed).collect()
    }
}

// === impl Tier ===

impl Tier {
    /// Runs the tier, with a share of the faults that is drawn from a seed or with all of them; what
    /// kept it from running is a failure like any other.
    fn run(self, seed: Option<u64>, tables: &mut Tables) -> Tally {
        let tally = match self {
            Self::Lint => lint::check(),
            Self::Unit => unit(),
            Self::Lab => build::production().and_then(|built| lab(&built, seed, tables)),
            Self::Vm => vm::tier(seed),
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
            Self::Vm => "vm",
        })
    }
}

// === impl Suite ===

impl Suite {
    /// What its file in tests/ is called: cargo adds a hash.
    pub(crate) fn name(&self) -> &str {
        let file = self.executable.rsplit('/').next().unwrap_or(&self.executable);
        file.rsplit_once('-').map_or(file, |(name, _)| name)
    }

    /// The package's folder.
    fn folder(&self) -> &Path {
        self.manifest.parent().unwrap_or(shell::workspace())
    }

    /// What runs it as root, with faults drawn from a seed; it leaves its tables in a folder.
    fn command(&self, built: &Built, seed: Option<u64>, tables: &Path) -> Result<Command> {
        let mut command = as_root("env", "the lab's network namespaces")?;
        command.args(built.environment());
        command.args(seed.map(|seed| format!("{SEED_VARIABLE}={seed}")));
        let mut folder = OsString::from(format!("{FOLDER_VARIABLE}="));
        folder.push(tables);
        command.arg(folder);
        command.args(setup::prometheus::environment());
        command.arg(&self.executable).args(["--test-threads=1", "--exact"]);
        // Where cargo would run it.
        command.current_dir(self.folder());
        Ok(command)
    }
}

/// What needs no privileges.
fn unit() -> Result<Tally> {
    let mut reader = Reader::default();
    let mut succeeded = true;
    for targets in UNIT {
        let mut cargo = shell::cargo();
        cargo.args(["test", "--no-fail-fast"]).args(targets);
        succeeded &= stream(&mut cargo, &mut reader)?;
    }
    Ok(reader.finish(succeeded))
}

/// The suites that make network namespaces, as root; one test at a time, because there is one lab on a machine.
fn lab(built: &Built, seed: Option<u64>, tables: &mut Tables) -> Result<Tally> {
    let mut reader = Reader::default();
    let mut succeeded = true;
    let slow = SlowTests::read()?;
    let left = seed.map(|seed| slow.left_by(seed)).unwrap_or_default();
    for suite in suites()?.iter().filter(|suite| suite.name() != OF_GUESTS) {
        eprintln!("test: {}", suite.executable);
        let mut command = suite.command(built, seed, tables.folder())?;
        left.of(suite.name()).for_each(|name| _ = command.args(["--skip", name]));
        let (before, out_before) = (reader.counts(), reader.filtered_out());
        let started = Instant::now();
        succeeded &= stream(&mut command, &mut reader)?;
        if let Some(why) = left.complaint(suite.name(), reader.filtered_out() - out_before) {
            reader.fail(&why);
        }
        for (name, took) in reader.take_times() {
            if let Some(line) = slow.lacks(suite.name(), &name, took) {
                eprintln!("test: slow, and not in the list of slow tests: {line}");
            }
        }
        tables.add(suite.name(), reader.counts().since(before), started.elapsed())?;
    }
    let mut tally = reader.finish(succeeded);
    tally.left_out = left.words();
    Ok(tally)
}

/// Builds the suites, as the caller and not as root, and says where they are.
pub(crate) fn suites() -> Result<Vec<Suite>> {
    let messages = shell::output(
        shell::cargo()
            .args(["test", "-p", "tracer", "-p", "tracer-tests", "--test", "*", "--no-run"])
            .arg("--message-format=json-render-diagnostics")
            .stderr(Stdio::inherit()),
    )?;
    messages.lines().filter_map(|line| suite(line).transpose()).collect()
}

fn suite(line: &str) -> Result<Option<Suite>> {
    let message: Message = serde_json::from_str(line).context("cargo's messages are not JSON")?;
    let is_test = message.profile.is_some_and(|profile| profile.test);
    let executable = message.executable.filter(|_| is_test);
    let suite = executable.zip(message.manifest_path);
    Ok(suite.map(|(executable, manifest)| Suite { executable, manifest }))
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
        let message = |test: bool| {
            let profile = format!(r#""profile":{{"test":{test}}}"#);
            format!(
                r#"{{"manifest_path":"/w/tests/Cargo.toml","executable":"/t/flow_table-82930ea9",{profile}}}"#
            )
        };
        let found = suite(&message(true)).expect("JSON").expect("a suite");
        assert_eq!(
            (&*found.executable, found.folder()),
            ("/t/flow_table-82930ea9", Path::new("/w/tests"))
        );
        assert_eq!(found.name(), "flow_table");
        assert!(suite(&message(false)).expect("JSON").is_none());
        assert!(suite(r#"{"reason":"build-finished"}"#).expect("JSON").is_none());
        assert!(suite("not JSON").is_err());
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
