//! Networks that are refused as a whole, under more specific routes: that of the cluster, as flannel's
//! `--add-blackhole-route` has it for Canal, and that around the nodes, as routers null-route what they
//! aggregate.

use ipnet::IpNet;

use super::{LookAlike, PLAIN, on_all_nodes};
use crate::plan::{Family, Plan};

/// By so many bits the refused network is wider than that of the nodes.
const WIDER: u8 = 4;

pub(super) const LOOK_ALIKES: [LookAlike; 2] = [
    LookAlike {
        name: "cluster-blackhole",
        summary: "a blackhole for the whole cluster network under the specific routes",
        changes: |plan| {
            on_all_nodes(plan, |_| vec![format!("route add blackhole {}", plan.cluster.v4)])
        },
        ..PLAIN
    },
    LookAlike {
        name: "nodes-aggregate-refused",
        summary: "the networks around that of the nodes are unreachable",
        changes: |plan| {
            on_all_nodes(plan, |_| plan.families().iter().map(|it| refused(plan, *it)).collect())
        },
        ..PLAIN
    },
];

fn refused(plan: &Plan, family: Family) -> String {
    let own = plan.lan.network.of(family);
    let length = own.prefix_len() - WIDER;
    let wide = IpNet::new(own.addr(), length).map_or(own, |wide| wide.trunc());
    format!("route add unreachable {wide}")
}
