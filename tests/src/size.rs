//! How much a suite does. A guest that is interpreted is ten times slower than this machine: there
//! the same is shown with fewer packets and with more patience.

use std::{env, time::Duration};

/// Set where programs are interpreted.
pub const SMALL_VARIABLE: &str = "FLANNEL_TRACER_SMALL";
/// How much longer everything takes there.
const SLOWER: u32 = 10;

/// Whether programs are interpreted here.
#[must_use]
pub fn is_small() -> bool {
    env::var_os(SMALL_VARIABLE).is_some()
}

/// `full`, or `small` where programs are interpreted.
#[must_use]
pub fn of<T>(full: T, small: T) -> T {
    if is_small() { small } else { full }
}

/// A deadline that holds here.
#[must_use]
pub fn patience(full: Duration) -> Duration {
    of(full, full * SLOWER)
}
