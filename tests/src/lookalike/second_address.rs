//! The bridge has an address of another network beside its own.

use super::{LookAlike, PLAIN, on_all_nodes};

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "bridge-second-address",
    summary: "the bridges have a second address, of another network",
    changes: |plan| {
        on_all_nodes(plan, |node| vec![format!("addr add 198.18.77.1/24 dev {}", node.bridge)])
    },
    ..PLAIN
}];
