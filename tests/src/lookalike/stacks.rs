//! Clusters that speak IPv6, alone or beside IPv4. In dual stack the device for IPv6 is 20 bytes
//! smaller than bridge and pods.

use super::{LookAlike, PLAIN, on_all_nodes};
use crate::{
    node,
    plan::{Family, FlannelRules, ProxyRules, Stack},
    seed::Shape,
};

pub(super) const LOOK_ALIKES: [LookAlike; 4] = [
    LookAlike {
        name: "dual-stack",
        summary: "IPv4 and IPv6, each with a device and entries of its own",
        shape: || of(Stack::Dual),
        ..PLAIN
    },
    LookAlike {
        name: "ipv6-only",
        summary: "pods and nodes with IPv6 alone",
        shape: || of(Stack::V6),
        ..PLAIN
    },
    LookAlike {
        name: "dual-stack-nftables",
        summary: "IPv4 and IPv6, flannel and kube-proxy in nftables mode",
        shape: || Shape {
            flannel_rules: FlannelRules::Nftables,
            proxy_rules: ProxyRules::Nftables,
            ..of(Stack::Dual)
        },
        ..PLAIN
    },
    LookAlike {
        name: "dual-stack-without-ipv6-outside",
        summary: "IPv6 for the cluster alone: no default route of it",
        shape: || of(Stack::Dual),
        changes: |plan| on_all_nodes(plan, |_| vec![node::no_default_route(Family::V6)]),
        ..PLAIN
    },
];

fn of(stack: Stack) -> Shape {
    Shape { min_nodes: 2, stack, ..Shape::default() }
}
