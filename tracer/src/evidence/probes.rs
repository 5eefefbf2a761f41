use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What came of the packets of several sizes that were sent to peers through the tunnel: each is one
/// that the peer's node answers with a short ICMP error, so that it tells of the way there.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probes {
    /// From the window's start until the last answer, seconds.
    pub seconds: f64,
    /// The peers that were asked.
    pub peers: Vec<PeerProbe>,
}

/// What one peer answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerProbe {
    /// Its pod CIDR.
    pub cidr: IpNet,
    /// The address of its node in the tunnel that answered; `None` when none did, and then no size
    /// was tried.
    pub address: Option<IpAddr>,
    /// Whether this node's kernel knows that full packets do not fit into the way there, and tells who
    /// sends them.
    pub heeded: bool,
    /// The sizes that were tried, ascending.
    pub sizes: Vec<ProbedSize>,
}

/// Packets of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbedSize {
    /// The inner packet with its IP header, bytes.
    pub bytes: u32,
    /// Packets sent: without those that this node itself refuses.
    pub sent: u32,
    /// Those that the peer answered.
    pub answered: u32,
}

// === impl PeerProbe ===

impl PeerProbe {
    /// The largest size that passes and the smallest that is lost, when small packets pass and full
    /// ones are lost; all of each, for a way that loses some of everything is another fault.
    #[must_use]
    pub fn limit(&self) -> Option<(u32, u32)> {
        let (small, full) = (self.sizes.first()?, self.sizes.last()?);
        let is_shown = |size: &ProbedSize| size.sent >= ENOUGH;
        let differ = small.answered == small.sent && full.answered == 0;
        if !differ || !is_shown(small) || !is_shown(full) {
            return None;
        }
        let passes = self.sizes.iter().filter(|it| it.answered > 0).map(|it| it.bytes).max()?;
        let lost = self.sizes.iter().filter(|it| it.bytes > passes).map(|it| it.bytes).min()?;
        Some((passes, lost))
    }

    /// Whether the peer answered full packets.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.sizes.last().is_some_and(|full| full.answered > 0)
    }
}

/// Packets of a size that have to agree.
const ENOUGH: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(sizes: &[(u32, u32, u32)]) -> Option<(u32, u32)> {
        let sizes = sizes
            .iter()
            .map(|(bytes, sent, answered)| ProbedSize {
                bytes: *bytes,
                sent: *sent,
                answered: *answered,
            })
            .collect();
        let cidr = "10.244.1.0/24".parse().unwrap();
        PeerProbe { cidr, address: None, heeded: false, sizes }.limit()
    }

    #[test]
    fn a_limit_takes_all_small_packets_and_no_full_one() {
        assert_eq!(limit(&[(128, 4, 4), (1450, 4, 0)]), Some((128, 1450)));
        let searched = [(128, 4, 4), (800, 1, 1), (1200, 1, 1), (1300, 1, 0), (1450, 4, 0)];
        assert_eq!(limit(&searched), Some((1200, 1300)));
        for none in [
            &[(128, 4, 4), (1450, 4, 1)][..],
            &[(128, 4, 3), (1450, 4, 0)],
            &[(128, 3, 3), (1450, 3, 0)],
            &[(128, 4, 0), (1450, 4, 0)],
            &[(128, 4, 4)],
            &[],
        ] {
            assert_eq!(limit(none), None, "{none:?}");
        }
    }
}
