//! `cargo xtask test`: every tier, what each found, and the sum in the last line.

mod libtest;
mod page;
mod record;
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
use tracer_tests::sample::{KNOWN_VARIABLE, SEED_VARIABLE};
use tracer_tests::seed;
use tracer_tests::shown;
use tracer_tests::size::SMALL_VARIABLE;

use self::libtest::Reader;
use self::page::{Shown, Tables};
use self::record::{Begun, Records};
pub(crate) use self::report::{Report, Tally};
pub(crate) use self::skips::AllowedSkips;
use self::slow::{LeftOut, SlowTests};
use crate::build::{self, Built, Cross};
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
    /// Do not run again what a run with --all has shown to be right: the page says of which commits
    /// it is
    #[arg(long, requires = "all")]
    resume: bool,
    /// Where a run with --all keeps what it has shown to be right, and --resume finds it: target, or
    /// DIR/tests and DIR/kernels that outlive the machine
    #[arg(long, value_name = "DIR", requires = "all")]
    records: Option<PathBuf>,
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

/// Variables by which a suite that is run by hand shows less: a tier shows all that it names.
const NARROWING: [&str; 4] =
    ["FLANNEL_TRACER_TEST_FAULT", SMALL_VARIABLE, KNOWN_VARIABLE, SEED_VARIABLE];

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

/// The tier `lab` while it runs.
struct LabRun {
    built: Built,
    /// What tells its suite where CoreDNS is, unless this machine cannot have it.
    coredns: Option<OsString>,
    /// What the share of the faults is drawn from; `None` for all of them.
    seed: Option<u64>,
    slow: SlowTests,
    left: LeftOut,
    records: Option<Records>,
    reader: Reader,
    /// Whether every suite has ended well.
    succeeded: bool,
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
        report.add(&tier.to_string(), tier.run(seed, args, &mut tables));
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

    /// Where a run of everything keeps what the lab's suites showed; `None` for a share of it.
    fn records_of_lab(&self) -> Result<Option<Records>> {
        if !self.all {
            return Ok(None);
        }
        let now = format!("{}, {}", build::commit(), jiff::Zoned::now().date());
        let folder = self.records_in("tests");
        let folder = folder.unwrap_or_else(|| build::target_folder().join("tests"));
        Records::new(&folder, self.resume, now).map(Some)
    }

    fn records_in(&self, name: &str) -> Option<PathBuf> {
        self.records.as_ref().map(|it| it.join(name))
    }
}

// === impl Tier ===

impl Tier {
    /// Runs the tier, with a share of the faults that is drawn from a seed or with all of them; what
    /// kept it from running is a failure like any other.
    fn run(self, seed: Option<u64>, args: &TestArgs, tables: &mut Tables) -> Tally {
        let tally = match self {
            Self::Lint => lint::check(),
            Self::Unit => unit(),
            Self::Lab => lab(seed, args, tables),
            Self::Vm => vm::tier(seed, args.resume, args.records_in("kernels")),
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

    /// What runs it as root, with the faults and without the tests that `lab` says; it leaves its
    /// tables in a folder.
    fn command(&self, lab: &LabRun, tables: &Path) -> Result<Command> {
        let mut command = as_root("env", "the lab's network namespaces")?;
        // What narrows a suite for whoever works on it.
        command.args(NARROWING.iter().map(|name| format!("--unset={name}")));
        command.args(lab.built.environment());
        command.args(lab.seed.map(|seed| format!("{SEED_VARIABLE}={seed}")));
        command.arg(variable(FOLDER_VARIABLE, tables));
        let records = lab.records.as_ref();
        command.args(records.map(|it| variable(shown::FOLDER_VARIABLE, it.folder())));
        command.args(setup::prometheus::environment());
        command.args(&lab.coredns);
        command.arg(&self.executable).args(["--test-threads=1", "--exact"]);
        // Where cargo would run it.
        command.current_dir(self.folder());
        lab.left.of(self.name()).for_each(|name| _ = command.args(["--skip", name]));
        Ok(command)
    }
}

// === impl LabRun ===

impl LabRun {
    /// Whether a suite is of this tier, and what it needs is here.
    fn runs(&self, suite: &Suite) -> bool {
        let has_all = self.coredns.is_some() || suite.name() != setup::coredns::SUITE;
        suite.name() != OF_GUESTS && has_all
    }

    /// What was kept of a suite, or how it ends now.
    fn known_or_run(&mut self, suite: &Suite, tables: &Tables) -> Result<Shown> {
        let begun = self.records.as_ref().map(|it| it.begin(suite.name())).transpose()?;
        let at = match begun {
            Some(Begun::Known(shown)) => {
                eprintln!("test: {} was right of {}", shown.suite, shown.at.join("; "));
                self.reader.pass(shown.counts.passed);
                return Ok(shown);
            }
            Some(Begun::Open(at)) => at,
            None => vec![build::commit()],
        };
        let shown = self.run(suite, at, tables)?;
        if let Some(records) = &self.records {
            records.keep(&shown)?;
        }
        Ok(shown)
    }

    fn run(&mut self, suite: &Suite, at: Vec<String>, tables: &Tables) -> Result<Shown> {
        eprintln!("test: {}", suite.executable);
        let (name, before, out_before) =
            (suite.name(), self.reader.counts(), self.reader.filtered_out());
        let started = Instant::now();
        let ended_well = stream(&mut suite.command(self, tables.folder())?, &mut self.reader)?;
        self.succeeded &= ended_well;
        let left_out = self.reader.filtered_out() - out_before;
        if let Some(why) = self.left.complaint(name, left_out) {
            self.reader.fail(&why);
        }
        for (test, took) in self.reader.take_times() {
            if let Some(line) = self.slow.lacks(name, &test, took) {
                eprintln!("test: slow, and not in the list of slow tests: {line}");
            }
        }
        let mut counts = self.reader.counts().since(before);
        // One that dies has no results.
        counts.failed += usize::from(!ended_well && counts.failed == 0);
        let (took, table) = (started.elapsed(), tables.of(name)?);
        Ok(Shown { suite: name.to_owned(), counts, took, at, table })
    }
}

/// A variable for env(1) that names a path.
fn variable(name: &str, path: &Path) -> OsString {
    let mut variable = OsString::from(format!("{name}="));
    variable.push(path);
    variable
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
fn lab(seed: Option<u64>, args: &TestArgs, tables: &mut Tables) -> Result<Tally> {
    let built = build::production()?;
    let records = args.records_of_lab()?;
    let slow = SlowTests::read()?;
    let left = seed.map(|seed| slow.left_by(seed)).unwrap_or_default();
    let unfetched = setup::coredns::fetch().err();
    let coredns = unfetched.is_none().then(setup::coredns::environment).transpose()?;
    let reader = Reader::default();
    let mut lab = LabRun { built, coredns, seed, slow, left, records, reader, succeeded: true };
    let suites: Vec<Suite> = suites(None)?.into_iter().filter(|it| lab.runs(it)).collect();
    for suite in &suites {
        let shown = lab.known_or_run(suite, tables)?;
        tables.add(shown);
    }
    let mut tally = lab.reader.finish(lab.succeeded);
    if let Some(error) = unfetched {
        tally.skip(setup::coredns::SUITE, &format!("{error:#}"));
    }
    tally.left_out = lab.left.words();
    Ok(tally)
}

/// Builds the suites, as the caller and not as root, and says where they are.
///
/// They are for this machine, or for one of another kind.
pub(crate) fn suites(cross: Option<&Cross>) -> Result<Vec<Suite>> {
    let mut cargo = shell::cargo();
    cargo.args(["test", "-p", "tracer", "-p", "tracer-tests", "--test", "*", "--no-run"]);
    cargo.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    if let Some(cross) = cross {
        cross.tell(&mut cargo);
    }
    let messages = shell::output(&mut cargo)?;
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
