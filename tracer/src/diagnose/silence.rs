//! Silence: a peer that was asked all the time and from which nothing came.

use super::case::Case;
use crate::{
    evidence::{PeerTraffic, Stage},
    topology::Peer,
};

/// How many packets must have asked before silence means something.
const ENOUGH: u64 = 3;
/// How many addresses must keep silent: a single one may have reasons of its own, a policy, a
/// firewall in the pod, and they are no matter of the tunnel.
const SEVERAL: u64 = 2;

/// The known peers that are silent, with what was sent to them; none where an answer could have come
/// unseen.
pub(super) fn silent_peers<'c, 'a>(case: &'c Case<'a>) -> Vec<(&'c Peer<'a>, &'a PeerTraffic)> {
    if !case.sees_all(Stage::WireIn) || !case.sees_all(Stage::OverlayIn) {
        return Vec::new();
    }
    let known = case.topology.peers.iter().filter(|peer| peer.is_known());
    known.filter_map(|peer| Some((peer, peer.traffic.filter(|it| is_silent(it))?))).collect()
}

/// Both reads saw packets leave for several addresses, and no read saw one come.
pub(super) const fn is_silent(traffic: &PeerTraffic) -> bool {
    traffic.asking_out >= ENOUGH
        && traffic.addresses_asked >= SEVERAL
        && traffic.early.wire_out > 0
        && traffic.packets.wire_out > traffic.early.wire_out
        && traffic.packets.wire_in == 0
        && traffic.packets.overlay_in == 0
}

/// How many packets asked and got no answer, where those are most of what asked in both halves of the
/// window. One client whose answers are forbidden, or one dead pod, is no matter of the node.
pub(super) fn mostly_unanswered(traffic: &PeerTraffic) -> Option<u64> {
    let (lost, early) = (traffic.lost.wire_to_peer, traffic.lost_early.wire_to_peer);
    let is_most = match traffic.answered {
        Some(answered) => lost >= answered && traffic.addresses_silent >= SEVERAL,
        None => lost.saturating_mul(2) >= traffic.asking_out && traffic.addresses_asked >= SEVERAL,
    };
    (is_most && lost >= ENOUGH && early > 0 && lost > early).then_some(lost)
}
