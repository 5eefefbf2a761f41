//! flannel with nftables rules instead of iptables chains.

use super::{LookAlike, PLAIN};
use crate::{plan::FlannelRules, seed::Shape};

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "flannel-nftables",
    summary: "flannel in nftables mode",
    shape: || Shape { min_nodes: 2, flannel_rules: FlannelRules::Nftables, ..Shape::default() },
    ..PLAIN
}];
