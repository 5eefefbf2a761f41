//! Which modules a guest gets: what the lab uses, and all that these need, by `modules.dep`.

use std::collections::{BTreeSet, HashMap};

/// Modules that no rule or device loads by itself.
pub(super) const LOADED: [&str; 10] = [
    "vxlan",
    "tun",
    "bridge",
    "br_netfilter",
    "veth",
    "8021q",
    "cls_bpf",
    "act_bpf",
    "sch_ingress",
    // 5.10 does not load it for whoever asks for an entry of the table of connections.
    "nf_conntrack_netlink",
];

/// What else may be asked for, by the beginning of its name.
const PREFIXES: [&str; 13] = [
    "nf_",
    "nft_",
    "xt_",
    "ip_tables",
    "iptable_",
    "ip6_tables",
    "ip6table_",
    "ipt_",
    "ip6t_",
    "x_tables",
    "nfnetlink",
    "crc32c",
    "libcrc32c",
];
const OTHERS: [&str; 6] =
    ["dummy", "af_packet_diag", "inet_diag", "sch_tbf", "tcp_diag", "udp_diag"];

/// Paths of the modules to take, from the text of `modules.dep`.
pub(super) fn select(dependencies: &str) -> BTreeSet<String> {
    let table: HashMap<&str, Vec<&str>> = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(module, needs)| (module, needs.split_whitespace().collect()))
        .collect();
    let mut taken = BTreeSet::new();
    let mut open: Vec<&str> = table.keys().copied().filter(|path| is_wanted(name(path))).collect();
    while let Some(path) = open.pop() {
        if taken.insert(path.to_owned()) {
            open.extend(table.get(path).into_iter().flatten());
        }
    }
    taken
}

fn is_wanted(name: &str) -> bool {
    LOADED.contains(&name)
        || OTHERS.contains(&name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// `vxlan` of `kernel/drivers/net/vxlan/vxlan.ko.xz`.
fn name(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split_once(".ko").map_or(file, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "\
kernel/net/vxlan.ko.xz: kernel/net/udp_tunnel.ko.xz kernel/net/ip6_udp_tunnel.ko.xz
kernel/net/udp_tunnel.ko.xz: kernel/lib/deep.ko.xz
kernel/net/ip6_udp_tunnel.ko.xz:
kernel/lib/deep.ko.xz:
kernel/net/netfilter/nft_chain_nat.ko.xz:
kernel/drivers/sound.ko.xz: kernel/lib/deep.ko.xz
";

    #[test]
    fn what_is_wanted_brings_what_it_needs_and_nothing_else() {
        let taken = select(DEPENDENCIES);
        assert!(taken.contains("kernel/lib/deep.ko.xz"));
        assert!(taken.contains("kernel/net/netfilter/nft_chain_nat.ko.xz"));
        assert_eq!(taken.len(), 5);
    }
}
