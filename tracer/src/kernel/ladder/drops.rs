//! Which packets the kernel drops, and why.

use crate::evidence::Capability;

pub(super) fn rung() -> Capability {
    super::off("drops", "this version does not read kernel drops", "reason and symbol of a drop")
}
