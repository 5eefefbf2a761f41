//! Silence: a peer that was asked all the time and from which nothing came.

use crate::evidence::PeerTraffic;

/// How many packets must have asked before silence means something.
const ENOUGH: u64 = 3;
/// How many addresses must keep silent: a single one may have reasons of its own, a policy, a
/// firewall in the pod, and they are no matter of the tunnel.
const SEVERAL: u64 = 2;

/// Both reads saw packets leave for several addresses, and no read saw one come.
pub(super) const fn is_silent(traffic: &PeerTraffic) -> bool {
    traffic.asking_out >= ENOUGH
        && traffic.addresses_asked >= SEVERAL
        && traffic.early.wire_out > 0
        && traffic.packets.wire_out > traffic.early.wire_out
        && traffic.packets.wire_in == 0
        && traffic.packets.overlay_in == 0
}
