//! flannel's traces in nftables and legacy iptables.

use std::fs;

use tracer::netlink::netfilter_signs;

use crate::namespace::Namespace;

fn signs(namespace: &Namespace) -> Vec<String> {
    namespace.run(|| netfilter_signs().unwrap().flannel)
}

#[test]
fn a_namespace_without_flannel_shows_none() {
    let namespace = Namespace::new();
    assert_eq!(signs(&namespace), [""; 0]);
    namespace.shell(
        "nft add table ip flannel
         nft add chain ip flannel XFLANNEL-FWD
         iptables-legacy -N KUBE-FORWARD",
    );
    assert_eq!(signs(&namespace), [""; 0]);
}

#[test]
fn looking_makes_no_legacy_table() {
    let namespace = Namespace::new();
    // A kernel that has not yet loaded what makes legacy tables has not even the file.
    let tables = |namespace: &Namespace| {
        let names = || fs::read_to_string("/proc/thread-self/net/ip_tables_names");
        namespace.run(move || names().unwrap_or_default())
    };
    assert_eq!(tables(&namespace), "");
    signs(&namespace);
    assert_eq!(tables(&namespace), "");
}

#[test]
fn flannels_nft_tables_are_named_with_their_family() {
    let namespace = Namespace::new();
    namespace.shell(
        "nft add table ip flannel-ipv4
         nft add chain ip flannel-ipv4 postrtg
         nft add table ip6 flannel-ipv6",
    );
    assert_eq!(signs(&namespace), ["nft table ip flannel-ipv4", "nft table ip6 flannel-ipv6"]);
}

#[test]
fn chains_of_iptables_nft_are_found() {
    let namespace = Namespace::new();
    namespace.shell(
        "iptables-nft -N FLANNEL-FWD
         iptables-nft -t nat -N FLANNEL-POSTRTG
         ip6tables-nft -N FLANNEL-FWD",
    );
    let expected = ["chain FLANNEL-FWD", "chain FLANNEL-POSTRTG", "ip6 chain FLANNEL-FWD"];
    assert_eq!(signs(&namespace), expected);
}

#[test]
fn chains_of_legacy_iptables_are_found_among_rules() {
    let namespace = Namespace::new();
    namespace.shell(
        "iptables-legacy -N FLANNEL-FWD
         iptables-legacy -A FORWARD -m comment --comment 'flanneld forward' -j FLANNEL-FWD
         iptables-legacy -A FLANNEL-FWD -s 10.244.0.0/16 -j ACCEPT
         iptables-legacy -t nat -N FLANNEL-POSTRTG
         iptables-legacy -t nat -A FLANNEL-POSTRTG -s 10.244.0.0/16 -j MASQUERADE",
    );
    assert_eq!(signs(&namespace), ["chain FLANNEL-FWD", "chain FLANNEL-POSTRTG"]);
    let namespace = Namespace::new();
    namespace.shell(
        "ip6tables-legacy -N FLANNEL-FWD
         ip6tables-legacy -A FLANNEL-FWD -s fd00::/64 -j ACCEPT
         ip6tables-legacy -N FLANNEL-X",
    );
    assert_eq!(signs(&namespace), ["ip6 chain FLANNEL-FWD", "ip6 chain FLANNEL-X"]);
}
