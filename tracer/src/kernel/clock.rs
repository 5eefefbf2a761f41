//! The clock of the programs.

use std::time::Duration;

use anyhow::Context as _;
use nix::time::{ClockId, clock_gettime};

/// The clock of `bpf_ktime_get_ns` and `bpf_ktime_get_coarse_ns` (CLOCK_MONOTONIC) now.
///
/// # Errors
/// When the kernel gives no time, which it always does.
pub(super) fn monotonic() -> anyhow::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC).context("reading the kernel's clock")?.into())
}

/// The same in nanoseconds, as the programs write it.
///
/// # Errors
/// As [`monotonic`].
pub(super) fn monotonic_nanoseconds() -> anyhow::Result<u64> {
    Ok(u64::try_from(monotonic()?.as_nanos())?)
}
