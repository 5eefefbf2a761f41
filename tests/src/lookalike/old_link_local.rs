//! The overlay device's link-local address is of an older MAC and younger than all entries: flannel
//! was restarted after its MAC had changed, and wrote everything.

use super::{LookAlike, PLAIN, on_all_nodes};
use crate::plan::Family;

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "old-link-local",
    summary: "the overlay devices' link-local addresses are of older MACs; all entries are there",
    changes: |plan| {
        let overlay = plan.overlay(Family::V4);
        on_all_nodes(plan, |_| {
            vec![
                format!("addr flush dev {overlay} scope link"),
                format!("addr add fe80::5eff:fe00:5301/64 dev {overlay} nodad"),
            ]
        })
    },
    ..PLAIN
}];
