//! Rules of VPN programs that leave pod traffic alone: Tailscale's table 52 with tailnet hosts
//! only, and wg-quick's look-up of the main table without its default route.

use super::{LookAlike, PLAIN, on_all_nodes};

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "policy-rules",
    summary: "rules of Tailscale and wg-quick that leave pod traffic alone",
    changes: |plan| {
        on_all_nodes(plan, |node| {
            vec![
                format!("route add 100.64.0.7 dev {} table 52", node.uplink),
                "rule add pref 5210 fwmark 0x80000/0xff0000 lookup main".into(),
                "rule add pref 5270 lookup 52".into(),
                "rule add pref 32764 lookup main suppress_prefixlength 0".into(),
            ]
        })
    },
    ..PLAIN
}];
