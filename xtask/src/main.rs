//! The project's own commands: `cargo xtask setup`, `build`, `lint`, `test`, `fuzz`, `lab`, `demo`,
//! `soak`, `bench`, `vm`.
//!
//! Notes and progress go to stderr, so that what a command is asked for has stdout to itself.

mod bench;
mod bpf_toolchain;
mod build;
mod demo;
mod folder;
mod fuzz;
mod lab;
mod lint;
mod packages;
mod page;
mod privileges;
mod setup;
mod shell;
mod soak;
mod test;
mod tidy;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building and the lab need and is missing
    Setup,
    /// Build the production binary and say where it is
    Build,
    /// Format, clippy, licences, advisories and the repository's own rules
    Lint,
    /// Every tier of tests: lint, unit, lab, vm
    Test(test::TestArgs),
    /// Feed the packet parser mutated packets
    Fuzz(fuzz::FuzzArgs),
    /// A flannel cluster in network namespaces, to break and heal by hand
    Lab(lab::LabArgs),
    /// Break a lab and show what the tracer says
    Demo(demo::DemoArgs),
    /// Healthy checks in labs that change, none of which may find anything
    Soak(soak::SoakArgs),
    /// Measure what the programs cost a packet, against the budgets
    Bench(bench::BenchArgs),
    /// The suites on other kernels, in guests of QEMU
    Vm(vm::VmArgs),
}

fn main() -> ExitCode {
    run(Cli::parse().command).unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Setup => setup::run().map(|()| ExitCode::SUCCESS),
        Command::Build => build::run(),
        Command::Lint => lint::run(),
        Command::Test(args) => test::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Lab(args) => with_root(|| lab::run(args)),
        Command::Bench(args) => bench::run(&args),
        Command::Vm(args) => vm::run(&args),
        Command::Demo(args) => with_root(|| demo::run(args)),
        Command::Soak(args) => with_root(|| soak::run(&args)),
    }
}

/// Runs a command of the lab: built as the caller, run as root.
fn with_root(command: impl FnOnce() -> Result<ExitCode>) -> Result<ExitCode> {
    if build::is_announced() {
        return command();
    }
    setup::run()?;
    let built = build::production()?;
    privileges::run_again_as_root(&built)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
