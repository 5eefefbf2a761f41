//! `check`.

use std::fs;

use anyhow::Context as _;

use super::{Failure, Status, collect::collect, unobserved};
use crate::cli::CheckArgs;

pub(crate) fn run(args: &CheckArgs) -> Result<Status, Failure> {
    let evidence = collect(args)?;
    if let Some(path) = &args.save {
        fs::write(path, serde_json::to_string_pretty(&evidence).unwrap())
            .context("save")
            .map_err(unobserved)?;
    }
    println!("{}", serde_json::to_string_pretty(&evidence).unwrap());
    Ok(Status::Fine)
}
