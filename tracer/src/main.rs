//! The command `flannel-tracer`.

mod cli;
mod command;

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

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
        .with_ansi(std::io::stderr().is_terminal())
        // A log that nobody can read any more is no reason to end: by default its loss is printed
        // to the same stderr, and that would panic.
        .log_internal_errors(false)
        .with_target(false)
        .init();
    let status = match cli.command {
        Command::Check(args) => command::check::run(&args),
        Command::Capabilities(args) => command::capabilities::run(&args),
        Command::Cleanup => command::cleanup::run(),
        Command::Run(args) => command::run::run(&args),
        Command::Watch(args) => command::watch::run(&args),
        Command::Top(_) => Err(command::not_built("top")),
        Command::Record(_) => Err(command::not_built("record")),
    };
    match status {
        Ok(status) => status.into(),
        Err(failure) => {
            // Where stderr is closed the status says it alone.
            let _ = writeln!(std::io::stderr(), "flannel-tracer: {:#}", failure.error);
            failure.status.into()
        }
    }
}

/// Wrong usage is 3, as the contract has it; clap itself would say 2. Help is no error.
fn refuse(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    if error.use_stderr() || printed.is_err() { Status::Usage.into() } else { ExitCode::SUCCESS }
}
