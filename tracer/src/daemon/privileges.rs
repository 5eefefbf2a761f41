//! What the daemon keeps of its privileges once it runs.

use anyhow::Context as _;
use caps::{CapSet, Capability, CapsHashSet};

/// For attaching to devices that come later, for reading maps, and for the kernel's drop events.
const KEPT: [Capability; 3] =
    [Capability::CAP_BPF, Capability::CAP_NET_ADMIN, Capability::CAP_PERFMON];

/// Gives up every capability of the calling thread but those that a running daemon needs, for
/// good. To be called before other threads are started: each has its own.
///
/// # Errors
/// When the kernel refuses.
pub fn keep_only_needed() -> anyhow::Result<()> {
    nix::sys::prctl::set_no_new_privs().context("giving up new privileges")?;
    caps::clear(None, CapSet::Ambient).context("giving up ambient capabilities")?;
    let permitted = caps::read(None, CapSet::Permitted).context("reading capabilities")?;
    let kept: CapsHashSet =
        permitted.into_iter().filter(|capability| KEPT.contains(capability)).collect();
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new())
        .context("inheritable capabilities")?;
    caps::set(None, CapSet::Effective, &kept).context("giving up effective capabilities")?;
    caps::set(None, CapSet::Permitted, &kept).context("giving up permitted capabilities")
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn only_what_is_needed_is_kept() {
        // Capabilities are a thread's own.
        let left = thread::spawn(|| {
            keep_only_needed().unwrap();
            caps::read(None, CapSet::Permitted).unwrap()
        });
        assert!(left.join().unwrap().iter().all(|capability| KEPT.contains(capability)));
    }
}
