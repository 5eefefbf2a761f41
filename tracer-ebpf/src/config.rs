//! The read-only configuration.

use tracer_common::config::Config;

/// Overwritten by userspace before the object is loaded, then frozen: the verifier reads its
/// values and removes the branches that this node does not need.
#[unsafe(no_mangle)]
static CONFIG: Config = Config::new(0, 0, 0);

/// What userspace has set. The black box hides the initial value from the compiler, which would
/// otherwise fold it into the programs.
#[inline(always)]
pub(crate) fn get() -> &'static Config {
    core::hint::black_box(&CONFIG)
}
