//! The commands: each collects, judges and prints, and says how it ended.

pub(crate) mod capabilities;
pub(crate) mod check;
pub(crate) mod cleanup;
mod collect;
mod dns_rules;
mod drops;
mod observe;
mod probe;
mod proxy_rules;
mod rounds;
pub(crate) mod run;
mod services;
mod vips;
pub(crate) mod watch;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;

/// How a command ended: the exit statuses of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Nothing wrong.
    Fine = 0,
    /// Findings; of `run` and `watch`: it could not start.
    Findings = 1,
    /// Nothing wrong found, but not everything could be looked at.
    Unobserved = 2,
    /// Wrong usage or unreadable input.
    Usage = 3,
}

/// Why a command has no answer.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) error: anyhow::Error,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// Writes an answer to stdout. A reader that has gone (`| head -1`) has read what it wanted: the
/// status is that of the answer all the same.
fn say(write: impl FnOnce(&mut dyn io::Write) -> anyhow::Result<()>) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    let written = write(&mut out).and_then(|()| out.flush().context("writing the answer"));
    match written {
        Err(error) if !reader_has_gone(&error) => Err(unobserved(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn reader_has_gone(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// What waits for time, signals and packets in the calling thread.
fn clock() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().context("starting the clock")
}

/// Wrong usage or unreadable input.
pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Failure {
    Failure { status: Status::Usage, error: error.into() }
}

/// The node could not be looked at.
pub(crate) fn unobserved(error: impl Into<anyhow::Error>) -> Failure {
    Failure { status: Status::Unobserved, error: error.into() }
}

/// The daemon could not start.
pub(crate) fn not_started(error: impl Into<anyhow::Error>) -> Failure {
    Failure { status: Status::Findings, error: error.into() }
}

/// A command or an option of the contract that this version does not have.
pub(crate) fn not_built(what: &str) -> Failure {
    usage(anyhow::anyhow!("{what} is not built yet in this version; see flannel-tracer --help"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reader_that_has_gone_is_forgiven() {
        let failing = |kind: io::ErrorKind| {
            say(|_| Err(io::Error::from(kind)).context("writing")).map_err(|it| it.status)
        };
        assert_eq!(failing(io::ErrorKind::BrokenPipe), Ok(()));
        assert_eq!(failing(io::ErrorKind::StorageFull), Err(Status::Unobserved));
    }
}
