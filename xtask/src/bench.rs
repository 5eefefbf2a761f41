//! `cargo xtask bench`: what the programs cost a packet, against the budgets.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::privileges::as_root;
use crate::{build, setup, shell, test};

/// The suite that measures; the same one is a gate of the tests.
const SUITE: &str = "budget";
/// Where the suite writes the table as JSON.
const JSON: &str = "FLANNEL_TRACER_BENCH_JSON";

/// Measure what the programs cost a packet
#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Write the table as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode> {
    setup::run()?;
    let built = build::production()?;
    let suites = test::suites(None)?;
    let suite = suites.iter().find(|suite| suite.name() == SUITE);
    let suite = suite.with_context(|| format!("there is no suite {SUITE} in tests/tests"))?;
    let mut command = as_root("env", "loading eBPF programs")?;
    command.args(built.environment());
    if let Some(file) = &args.json {
        let file = std::path::absolute(file).context("the file for JSON")?;
        command.arg(format!("{JSON}={}", file.display()));
    }
    command.arg(&suite.executable).arg("--nocapture");
    shell::run(&mut command).map(|()| ExitCode::SUCCESS)
}
