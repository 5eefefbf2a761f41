//! What the stages miss of a peer's packets, where it is enough to mean something.

use super::{case::Case, dropped::ENOUGH};
use crate::{
    evidence::{PeerTraffic, StagePair},
    topology::Peer,
};

/// One in so many packets must be missed at least: firewalls drop a few of very many on every busy
/// node (packets that conntrack calls invalid), and so does a queue that manages delay.
const LEAST_SHARE: u64 = 100;

/// Of a peer's packets that were seen at the first stage of a pair, those that certainly did not
/// reach the next one.
pub(super) fn missed(case: &Case<'_>, peer: &Peer<'_>, pair: StagePair) -> Option<u64> {
    let traffic = peer.traffic.filter(|_| case.observed_pair(pair))?;
    let lost = traffic.lost.at(pair);
    is_lossy(traffic, pair, lost).then_some(lost)
}

/// Whether packets were lost in both halves of the window, `lost` of them for no other reason, and
/// these are a large part.
pub(super) fn is_lossy(traffic: &PeerTraffic, pair: StagePair, lost: u64) -> bool {
    let (total, early) = (traffic.lost.at(pair), traffic.lost_early.at(pair));
    lost >= ENOUGH
        && early > 0
        && total > early
        && is_large_part(lost, traffic.packets.at(pair.last_seen()))
}

/// Whether so many packets are more than a few of all.
pub(super) const fn is_large_part(packets: u64, all: u64) -> bool {
    packets.saturating_mul(LEAST_SHARE) >= all
}
