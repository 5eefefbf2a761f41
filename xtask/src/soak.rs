//! `cargo xtask soak`: healthy checks by the hundred or thousand, none of which may find anything.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, value_parser};
use tracer_tests::seed;
use tracer_tests::soak::Soak;
use tracer_tests::tracer::binary;

use crate::{build, shell};

/// Healthy checks in labs that change, none of which may find anything
#[derive(Args)]
pub(crate) struct SoakArgs {
    /// How many checks
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    healthy: u32,
    /// What the labs are drawn from; others each time when not given
    #[arg(long)]
    seed: Option<u64>,
    /// How long each check looks
    #[arg(long, value_name = "TIME", default_value = "1s")]
    duration: String,
}

pub(crate) fn run(args: &SoakArgs) -> Result<ExitCode> {
    // Before anything is built: a missing tracer would be noticed only at the end.
    binary()?;
    let seed = args.seed.unwrap_or_else(seed::random);
    let folder = build::target_folder().join("soak");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let owner = fs::metadata(shell::workspace()).context("the workspace")?;
    chown(&folder, Some(owner.uid()), Some(owner.gid())).context("the folder for evidence")?;
    println!("soak: --seed {seed}");
    let checks = args.healthy as usize;
    let soak = Soak { checks, seed, window: &args.duration, folder: &folder };
    let mut done = 0;
    let wrong = soak.run(|lot| {
        done += lot.checks;
        println!("{done:>6} of {checks}: {lot}");
    })?;
    println!("soak: {done} healthy checks, {wrong} wrong");
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
