//! The default route is in a table of its own, which a rule after the main table selects.

use super::{LookAlike, PLAIN, on_all_nodes};

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "default-route-elsewhere",
    summary: "the default route is in another table, selected by a rule",
    changes: |plan| {
        on_all_nodes(plan, |node| {
            vec![
                format!(
                    "route add default via {} dev {} table 100",
                    plan.lan.gateway.v4, node.uplink
                ),
                "rule add pref 33000 lookup 100".into(),
                "route del default table main".into(),
            ]
        })
    },
    ..PLAIN
}];
