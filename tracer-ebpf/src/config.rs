//! The read-only configuration.

use tracer_common::config::Config;

/// Overwritten by userspace before the object is loaded, then frozen: the verifier reads its
/// values and removes the branches that this node does not need.
#[unsafe(no_mangle)]
static CONFIG: Config = Config::new(0, 0, 0);

/// What userspace has set.
#[inline(always)]
pub(crate) fn get() -> &'static Config {
    &CONFIG
}
