//! One tracer at a time changes the qdiscs and filters of a network namespace.
//!
//! The kernel cannot delete a qdisc only if it is empty: between looking and deleting, another
//! tracer may have put a filter there, which would be gone without a word, or may count on the qdisc.

use std::{
    os::unix::net::UnixDatagram,
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;

use super::name::hold;

/// A tracer's changes to one device take a few milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(1);

/// The right to change qdiscs and filters in this thread's network namespace, until dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _held: UnixDatagram,
}

impl Turn {
    /// Waits for those before.
    ///
    /// # Errors
    /// When another tracer does not come to an end, or no socket can be made.
    pub(super) fn take() -> anyhow::Result<Self> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(held) = hold("turn")? {
                return Ok(Self { _held: held });
            }
            if Instant::now() >= until {
                bail!(
                    "another tracer has been changing the filters of this network namespace for \
                     {PATIENCE:?}; 'ss -xap | grep flannel-tracer/clsact/turn' names it: is it \
                     stopped?"
                );
            }
            thread::sleep(PAUSE);
        }
    }
}
