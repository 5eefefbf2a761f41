//! The read-only configuration.

use tracer_common::config::{Config, Family};
use tracer_ebpf::parse::Version;

/// Overwritten by userspace before the object is loaded, then frozen: the verifier reads its
/// values and removes the branches that this node does not need.
#[unsafe(no_mangle)]
pub(crate) static CONFIG: Config = Config::NONE;

/// What userspace has set for an IP version.
pub(crate) trait Configured: Version {
    fn config() -> &'static Family<Self>;
}

impl Configured for u32 {
    #[inline(always)]
    fn config() -> &'static Family<Self> {
        &CONFIG.v4
    }
}

impl Configured for [u32; 4] {
    #[inline(always)]
    fn config() -> &'static Family<Self> {
        &CONFIG.v6
    }
}
