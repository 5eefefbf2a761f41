//! `cargo xtask lint`: what can be said about the code without running it.

use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};

use crate::bpf_toolchain::BpfToolchain;
use crate::setup::note;
use crate::test::{AllowedSkips, Report, Tally};
use crate::{shell, tidy};

/// A fetch of the advisories that has not ended by then is not going to.
const FETCH_SECONDS: &str = "60";

/// What came of a check that did not fail.
enum Outcome {
    Passed,
    Skipped(&'static str),
}

type Check = (&'static str, fn() -> Result<Outcome>);

const CHECKS: [Check; 5] = [
    ("format", format),
    ("clippy", clippy),
    ("clippy-ebpf", clippy_ebpf),
    ("dependencies", dependencies),
    ("advisories", advisories),
];

pub(crate) fn run() -> Result<ExitCode> {
    let mut report = Report::new(AllowedSkips::read()?);
    report.add("lint", check()?);
    print!("{}", report.text());
    Ok(report.exit_code())
}

/// Makes every check, those after a failed one included.
pub(crate) fn check() -> Result<Tally> {
    let mut tally = Tally::default();
    for (name, check) in CHECKS {
        eprintln!("lint: {name}");
        match check() {
            Ok(Outcome::Passed) => tally.pass(),
            Ok(Outcome::Skipped(reason)) => tally.skip(name, reason),
            Err(error) => tally.fail(&format!("{name}: {error:#}")),
        }
    }
    for (name, violations) in tidy::check(shell::workspace())? {
        violations.iter().for_each(|violation| eprintln!("tidy: {name}: {violation}"));
        if violations.is_empty() { tally.pass() } else { tally.fail(&format!("tidy: {name}")) }
    }
    Ok(tally)
}

fn format() -> Result<Outcome> {
    shell::run(shell::cargo().args(["fmt", "--all", "--check"]))
        .context("`cargo fmt` repairs it")?;
    Ok(Outcome::Passed)
}

fn clippy() -> Result<Outcome> {
    shell::run(shell::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]))?;
    Ok(Outcome::Passed)
}

/// The programs as the kernel gets them; the host's clippy sees only their parser.
fn clippy_ebpf() -> Result<Outcome> {
    let toolchain = BpfToolchain::detect().context("no toolchain: run `cargo xtask setup`")?;
    let name = toolchain.name();
    ensure!(
        shell::succeeds(shell::cargo_of(name).args(["clippy", "--version"])),
        "toolchain `{name}` has no clippy; {} adds it",
        match toolchain {
            BpfToolchain::Nightly => "`rustup component add clippy --toolchain nightly`",
            BpfToolchain::Packaged => "`apt-get install rust-web-clippy`",
        }
    );
    let mut command = shell::cargo_of(name);
    command
        .args(["clippy", "--package", "tracer-ebpf", "--bins", "--release"])
        .args(["--target", "bpfel-unknown-none", "--target-dir", "target/ebpf-lint"])
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH),
        );
    match toolchain {
        // A nightly brings new lints any day: what is denied by name fails, the rest is shown.
        BpfToolchain::Nightly => command.args(["-Z", "build-std=core"]),
        BpfToolchain::Packaged => {
            command.env("RUSTC_BOOTSTRAP", "aya_ebpf").args(["--", "--deny", "warnings"])
        }
    };
    shell::run(&mut command)?;
    Ok(Outcome::Passed)
}

fn dependencies() -> Result<Outcome> {
    cargo_deny()?;
    shell::run(shell::cargo().args(["deny", "check", "licenses", "bans", "sources"]))?;
    Ok(Outcome::Passed)
}

fn advisories() -> Result<Outcome> {
    cargo_deny()?;
    let mut fetch = shell::command("timeout");
    fetch.args([FETCH_SECONDS, "cargo", "deny", "fetch", "db"]);
    if !shell::succeeds(&mut fetch) {
        return Ok(Outcome::Skipped("the advisory database could not be fetched"));
    }
    shell::run(shell::cargo().args(["deny", "check", "--disable-fetch", "advisories"]))?;
    Ok(Outcome::Passed)
}

fn cargo_deny() -> Result<()> {
    if shell::find("cargo-deny").is_some() {
        return Ok(());
    }
    shell::run(shell::cargo().args(["install", "cargo-deny", "--locked"]))
        .context("cargo-deny is missing; `cargo install cargo-deny --locked` adds it")?;
    note("cargo-deny", "installed");
    Ok(())
}
