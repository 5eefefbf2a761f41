//! The command `flannel-tracer`.

mod cli;
mod command;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};
use command::Status;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    tracing_subscriber::fmt()
        .with_max_level(cli.log_level)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    let status = match cli.command {
        Command::Check(args) => command::check::run(&args),
        Command::Capabilities(args) => command::capabilities::run(&args),
        Command::Cleanup => command::cleanup::run(),
        Command::Run(_) => Err(command::not_built("run")),
        Command::Watch(_) => Err(command::not_built("watch")),
        Command::Top(_) => Err(command::not_built("top")),
        Command::Record(_) => Err(command::not_built("record")),
    };
    match status {
        Ok(status) => status.into(),
        Err(failure) => {
            eprintln!("flannel-tracer: {:#}", failure.error);
            failure.status.into()
        }
    }
}

/// Wrong usage is 3, as the contract has it; clap itself would say 2. Help is no error.
fn refuse(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    if error.use_stderr() || printed.is_err() { Status::Usage.into() } else { ExitCode::SUCCESS }
}
