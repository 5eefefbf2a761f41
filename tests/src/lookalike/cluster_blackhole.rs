//! flannel's `--add-blackhole-route` as Canal uses it: the whole cluster network under the peers'
//! more specific routes.

use super::{LookAlike, PLAIN, on_all_nodes};

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "cluster-blackhole",
    summary: "a blackhole for the whole cluster network under the specific routes",
    changes: |plan| {
        on_all_nodes(plan, |_| vec![format!("route add blackhole {}", plan.cluster.v4)])
    },
    ..PLAIN
}];
