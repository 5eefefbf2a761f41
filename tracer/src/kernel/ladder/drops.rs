//! Which packets the kernel drops, and why.

use crate::{evidence::Capability, kernel::drops};

/// Tries both programs.
pub(super) fn probe() -> Vec<Capability> {
    drops::probe_drops()
}

/// What `check` makes of drops.
pub(super) fn of_session() -> Capability {
    super::off("drops", "check does not read kernel drops yet", "reason and symbol of a drop")
}
