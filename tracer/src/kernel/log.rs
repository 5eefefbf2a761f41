//! The programs' own complaints, carried to our log.

use aya::Ebpf;
use aya_log::EbpfLogger;

/// Reader of the programs' log records; `None` when the object has none.
pub(super) type Logger = EbpfLogger<&'static dyn log::Log>;

/// Starts reading. A failure costs the complaints, not the session, and is logged.
pub(super) fn start(ebpf: &mut Ebpf) -> Option<Logger> {
    EbpfLogger::init(ebpf)
        .inspect_err(|error| tracing::warn!("the programs' log cannot be read: {error}"))
        .ok()
}
