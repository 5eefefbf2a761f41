//! A second card that is up and has no cable: it leads to no peer.

use super::{LookAlike, PLAIN, on_all_nodes};
use crate::lan::up;

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "second-card-without-cable",
    summary: "a second card with an address and without carrier",
    // The far end is down, as a switch port without a cable. The addresses are of the range for
    // benchmarks (RFC 2544), which no plan draws.
    changes: |plan| {
        on_all_nodes(plan, |_| {
            vec![
                "link add nic2 type veth peer name nic2-far".to_owned(),
                "addr add 198.18.200.1/24 dev nic2".to_owned(),
                up("nic2"),
            ]
        })
    },
    ..PLAIN
}];
