//! flannel's rules (pkg/trafficmngr of flannel v0.28): accept what is forwarded for pods,
//! masquerade what leaves the pod network.

use super::Rules;
use crate::plan::{Node, Plan};

const FORWARD: &str = r#"-m comment --comment "flanneld forward""#;
const MASQUERADE: &str = r#"-m comment --comment "flanneld masq""#;
/// kube-proxy's mark: what bears it is masqueraded by kube-proxy.
const KUBE_PROXY_MARK: &str = "0x4000/0x4000";

pub(super) fn filter(plan: &Plan) -> Rules {
    let cluster = plan.cluster;
    Rules::new(
        ["FLANNEL-FWD"],
        vec![
            format!("-A FORWARD {FORWARD} -j FLANNEL-FWD"),
            format!("-A FLANNEL-FWD -s {cluster} {FORWARD} -j ACCEPT"),
            format!("-A FLANNEL-FWD -d {cluster} {FORWARD} -j ACCEPT"),
        ],
    )
}

pub(super) fn nat(plan: &Plan, node: &Node) -> Rules {
    let (cluster, own) = (plan.cluster, node.subnet);
    let rule = |matches: String, target: &str| {
        format!("-A FLANNEL-POSTRTG {matches} {MASQUERADE} -j {target}")
    };
    let masquerade = "MASQUERADE --random-fully";
    Rules::new(
        ["FLANNEL-POSTRTG"],
        vec![
            format!("-A POSTROUTING {MASQUERADE} -j FLANNEL-POSTRTG"),
            rule(format!("-m mark --mark {KUBE_PROXY_MARK}"), "RETURN"),
            rule(format!("-s {own} -d {cluster}"), "RETURN"),
            rule(format!("-s {cluster} -d {own}"), "RETURN"),
            rule(format!("! -s {cluster} -d {own}"), "RETURN"),
            rule(format!("-s {cluster} ! -d 224.0.0.0/4"), masquerade),
            rule(format!("! -s {cluster} -d {cluster}"), masquerade),
        ],
    )
}

/// The same by nftables (`EnableNFTables`); the table for IPv6 exists on IPv4-only nodes too.
pub(super) fn nftables(plan: &Plan, node: &Node) -> Vec<String> {
    let (cluster, own) = (plan.cluster, node.subnet);
    let masquerade = "masquerade fully-random";
    let mut lines: Vec<String> = [("ip", "flannel-ipv4"), ("ip6", "flannel-ipv6")]
        .into_iter()
        .flat_map(|(family, table)| {
            [
                format!("add table {family} {table}"),
                format!(
                    "add chain {family} {table} postrtg \
                     {{ type nat hook postrouting priority srcnat; policy accept; }}"
                ),
                format!(
                    "add chain {family} {table} forward \
                     {{ type filter hook forward priority filter; policy accept; }}"
                ),
            ]
        })
        .collect();
    let rules = [
        ("forward", format!("ip saddr {cluster} accept")),
        ("forward", format!("ip daddr {cluster} accept")),
        ("postrtg", "meta mark & 0x00004000 == 0x00004000 return".into()),
        ("postrtg", format!("ip saddr {own} ip daddr {cluster} return")),
        ("postrtg", format!("ip saddr {cluster} ip daddr {own} return")),
        ("postrtg", format!("ip saddr != {cluster} ip daddr {own} return")),
        ("postrtg", format!("ip saddr {cluster} ip daddr != 224.0.0.0/4 {masquerade}")),
        ("postrtg", format!("ip saddr != {cluster} ip daddr {cluster} {masquerade}")),
    ];
    lines.extend(
        rules.into_iter().map(|(chain, rule)| format!("add rule ip flannel-ipv4 {chain} {rule}")),
    );
    lines
}
