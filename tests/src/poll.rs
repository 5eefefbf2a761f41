//! Waiting: ask again and again until a named deadline.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::size;

/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks `ready` until it answers `Ok`, at most for `deadline`, or longer where programs are
/// interpreted; `what` names what is waited for.
///
/// # Errors
/// The last error of `ready` when the deadline has passed.
pub fn poll_until<T>(
    what: &str,
    deadline: Duration,
    mut ready: impl FnMut() -> Result<T>,
) -> Result<T> {
    let deadline = size::patience(deadline);
    let end = Instant::now() + deadline;
    loop {
        match ready() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= end => {
                return Err(error).with_context(|| format!("waited {deadline:?} for {what}"));
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// As [`poll_until`], until `true_yet` is true.
///
/// # Errors
/// When the deadline has passed.
pub fn poll_true(what: &str, deadline: Duration, mut true_yet: impl FnMut() -> bool) -> Result<()> {
    poll_until(what, deadline, || if true_yet() { Ok(()) } else { bail!("not yet") })
}
