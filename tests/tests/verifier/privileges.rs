use std::thread;

use anyhow::{Context as _, Result};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

/// With what a program is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Privileges {
    /// Those of root.
    All,
    /// No more than the kernel asks for; then the verifier forbids more.
    Least,
}

// === impl Privileges ===

impl Privileges {
    pub(crate) const BOTH: [Self; 2] = [Self::All, Self::Least];

    /// Runs `work` with them. `least` is what the kernel asks for.
    pub(crate) fn with<T: Send>(
        self,
        least: CapabilitySet,
        work: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        if self == Self::All {
            return work();
        }
        // Capabilities are a thread's own (capabilities(7)), and this one ends with the work.
        thread::scope(|scope| {
            let reduced = scope.spawn(|| {
                let inheritable = CapabilitySet::empty();
                let sets = CapabilitySets { effective: least, permitted: least, inheritable };
                set_capabilities(None, sets).context("giving up privileges")?;
                work()
            });
            reduced.join().map_err(|_| anyhow::anyhow!("the work panicked"))?
        })
    }
}
