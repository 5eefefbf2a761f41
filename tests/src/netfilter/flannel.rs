//! flannel's rules (pkg/trafficmngr of flannel v0.28): accept what is forwarded for pods,
//! masquerade what leaves the pod network.

use super::Rules;
use crate::plan::{Family, Node, Plan, Stack};

const FORWARD: &str = r#"-m comment --comment "flanneld forward""#;
const MASQUERADE: &str = r#"-m comment --comment "flanneld masq""#;
/// kube-proxy's mark: what bears it is masqueraded by kube-proxy.
const KUBE_PROXY_MARK: &str = "0x4000/0x4000";

pub(super) fn filter(plan: &Plan, family: Family) -> Rules {
    let cluster = plan.cluster.of(family);
    Rules::new(
        ["FLANNEL-FWD"],
        vec![
            format!("-A FORWARD {FORWARD} -j FLANNEL-FWD"),
            format!("-A FLANNEL-FWD -s {cluster} {FORWARD} -j ACCEPT"),
            format!("-A FLANNEL-FWD -d {cluster} {FORWARD} -j ACCEPT"),
        ],
    )
}

pub(super) fn nat(plan: &Plan, node: &Node, family: Family) -> Rules {
    let (cluster, own) = (plan.cluster.of(family), node.subnet.of(family));
    let multicast = family.multicast();
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
            rule(format!("-s {cluster} ! -d {multicast}"), masquerade),
            rule(format!("! -s {cluster} -d {cluster}"), masquerade),
        ],
    )
}

/// The same by nftables (`EnableNFTables`); the tables of both families exist on every node.
pub(super) fn nftables(plan: &Plan, node: &Node) -> Vec<String> {
    let tables = Stack::Dual.families().iter().flat_map(|family| empty_table(*family));
    let rules = plan.families().iter().flat_map(|family| rules(plan, node, *family));
    tables.chain(rules).collect()
}

fn empty_table(family: Family) -> [String; 3] {
    let table = table(family);
    [
        format!("add table {table}"),
        format!(
            "add chain {table} postrtg \
             {{ type nat hook postrouting priority srcnat; policy accept; }}"
        ),
        format!(
            "add chain {table} forward \
             {{ type filter hook forward priority filter; policy accept; }}"
        ),
    ]
}

fn rules(plan: &Plan, node: &Node, family: Family) -> impl Iterator<Item = String> {
    let (cluster, own) = (plan.cluster.of(family), node.subnet.of(family));
    let (ip, multicast) = (family.word(), family.multicast());
    let masquerade = "masquerade fully-random";
    let rules = [
        ("forward", format!("{ip} saddr {cluster} accept")),
        ("forward", format!("{ip} daddr {cluster} accept")),
        ("postrtg", "meta mark & 0x00004000 == 0x00004000 return".into()),
        ("postrtg", format!("{ip} saddr {own} {ip} daddr {cluster} return")),
        ("postrtg", format!("{ip} saddr {cluster} {ip} daddr {own} return")),
        ("postrtg", format!("{ip} saddr != {cluster} {ip} daddr {own} return")),
        ("postrtg", format!("{ip} saddr {cluster} {ip} daddr != {multicast} {masquerade}")),
        ("postrtg", format!("{ip} saddr != {cluster} {ip} daddr {cluster} {masquerade}")),
    ];
    let table = table(family);
    rules.into_iter().map(move |(chain, rule)| format!("add rule {table} {chain} {rule}"))
}

/// Family and name of flannel's table.
fn table(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip flannel-ipv4",
        Family::V6 => "ip6 flannel-ipv6",
    }
}
