//! The line of `check --probe` about peers that were asked.

use crate::evidence::{Evidence, PeerProbe};

/// How many answered, and how large packets.
pub(super) fn line(evidence: &Evidence) -> Option<String> {
    let probes = evidence.probes.as_ref()?;
    if probes.peers.is_empty() {
        return Some("no peer is reached by the tunnel".to_owned());
    }
    let full = probes.peers.iter().filter(|peer| peer.is_full());
    let sizes = full.clone().filter_map(|peer| Some(peer.sizes.last()?.bytes));
    let (count, asked) = (full.count(), probes.peers.len());
    let largest = sizes.max().map(|bytes| format!(", of {bytes} bytes")).unwrap_or_default();
    let silent = |peer: &&PeerProbe| peer.address.is_none();
    let silent = match probes.peers.iter().filter(silent).count() {
        0 => String::new(),
        silent => format!(", {silent} answered nothing"),
    };
    Some(format!("{count} of {asked} peers answered full packets{largest}{silent}"))
}
