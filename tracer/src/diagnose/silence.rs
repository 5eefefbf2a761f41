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
pub(super) const SEVERAL: u64 = 2;

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
