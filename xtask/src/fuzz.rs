//! `cargo xtask fuzz`: cargo-fuzz on the packet parser.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;

use crate::shell;

#[derive(Args)]
pub(crate) struct FuzzArgs {
    /// How long to look
    #[arg(long, default_value_t = 60, value_name = "N")]
    seconds: u32,
}

pub(crate) fn run(args: &FuzzArgs) -> Result<ExitCode> {
    ensure!(
        shell::find("cargo-fuzz").is_some(),
        "cargo-fuzz is missing; `cargo install cargo-fuzz --locked` adds it"
    );
    ensure!(
        shell::succeeds(shell::cargo_of("nightly").arg("--version")),
        "fuzzing needs a nightly compiler; `rustup toolchain install nightly` adds it"
    );
    shell::run(
        shell::cargo_of("nightly")
            .args(["fuzz", "run", "--fuzz-dir", "tracer-ebpf/fuzz", "parse", "--"])
            .arg(format!("-max_total_time={}", args.seconds)),
    )?;
    Ok(ExitCode::SUCCESS)
}
