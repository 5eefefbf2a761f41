//! kube-proxy with nftables rules instead of iptables chains.

use super::{LookAlike, PLAIN};
use crate::{plan::ProxyRules, seed::Shape};

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "kube-proxy-nftables",
    summary: "kube-proxy in nftables mode",
    shape: || Shape { min_nodes: 2, proxy_rules: ProxyRules::Nftables, ..Shape::default() },
    ..PLAIN
}];
