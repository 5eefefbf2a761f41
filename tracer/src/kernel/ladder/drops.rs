//! Which packets the kernel drops, and why.

use crate::{evidence::Capability, kernel::drops};

/// Tries both programs.
pub(super) fn probe() -> Vec<Capability> {
    drops::probe_drops()
}
