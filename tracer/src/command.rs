//! The commands: each collects, judges and prints, and says how it ended.

pub(crate) mod capabilities;
pub(crate) mod check;
pub(crate) mod cleanup;
mod collect;
mod observe;

use std::process::ExitCode;

/// How a command ended: the exit statuses of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Nothing wrong.
    Fine = 0,
    /// Findings.
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

/// Wrong usage or unreadable input.
pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Failure {
    Failure { status: Status::Usage, error: error.into() }
}

/// The node could not be looked at.
pub(crate) fn unobserved(error: impl Into<anyhow::Error>) -> Failure {
    Failure { status: Status::Unobserved, error: error.into() }
}

/// A command or an option of the contract that this version does not have.
pub(crate) fn not_built(what: &str) -> Failure {
    usage(anyhow::anyhow!("{what} is not built yet in this version; see flannel-tracer --help"))
}
