//! Whose rules are in netfilter: flannel's are a sign that this is a flannel node, those of network
//! policies may be the end of a packet.
//!
//! Looking changes nothing: no kernel module is loaded and no table made by it.

mod legacy;
mod nft;
mod services;

use std::collections::BTreeSet;

pub use self::services::service_rules;

/// What flannel's chains begin with, in iptables mode.
const FLANNEL_PREFIX: &str = "FLANNEL-";
/// What kube-router's chain of a network policy begins with, and how long the rest is: a hash. Chains
/// of shorter names (`KUBE-NWPLCY-DEFAULT`, `KUBE-NWPLCY-COMMON`) and those of pods (`KUBE-POD-FW-*`)
/// are there without any policy, on every node of k3s, which has kube-router's controller built in; a
/// policy's chain is on all nodes (pkg/controllers/netpol/policy.go, kube-router 2.6).
const KUBE_ROUTER_PREFIX: &str = "KUBE-NWPLCY-";
const KUBE_ROUTER_HASH: usize = 16;
/// What Calico's chains of policies and of groups of them begin with, for packets to pods and from them;
/// they are where the pods are (felix/rules/rule_defs.go, Calico 3.30). In nftables the name of the
/// table that they would be in is before that.
const CALICO_PREFIXES: [&str; 4] = ["cali-pi-", "cali-po-", "cali-gi-", "cali-go-"];
/// And all of its chains.
const CALICO_PREFIX: &str = "cali-";
const CALICO_IN_NFTABLES: &str = "filter-";
/// The table that hands packets to kube-network-policies, which flannel's chart offers, and its name in
/// kindnet: the policies are in that process.
const QUEUE_TABLES: [&str; 2] = ["kube-network-policies", "kindnet-network-policies"];

/// kube-proxy's chain for services in iptables and IPVS mode, and its table in nftables mode.
const PROXY_CHAIN: &str = "KUBE-SERVICES";
const PROXY_TABLE: &str = "kube-proxy";

/// Who has rules in this thread's network namespace.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct NetfilterSigns {
    /// flannel's chains and tables, e.g. `chain FLANNEL-FWD`, `ip6 chain FLANNEL-FWD` or
    /// `nft table ip flannel-ipv4`.
    pub flannel: Vec<String>,
    /// Chains that carry network policies, or the table that hands packets to them.
    pub policy: Vec<String>,
    /// Who enforces network policies whose chains may be on other nodes alone.
    pub policy_elsewhere: Vec<String>,
    /// kube-proxy's chain or table for services.
    pub services: Vec<String>,
}

/// The signs, each once. Needs the capability NET_ADMIN.
///
/// # Errors
/// When nftables or the legacy tables cannot be read.
pub fn netfilter_signs() -> anyhow::Result<NetfilterSigns> {
    let nft::Names { tables, chains } = nft::names()?;
    let chains = chains.into_iter().chain(legacy::chains()?).collect();
    Ok(NetfilterSigns::of(&tables, &chains))
}

// === impl NetfilterSigns ===

impl NetfilterSigns {
    /// The signs among tables and chains, each with its family.
    fn of(tables: &[(&str, String)], chains: &BTreeSet<(&str, String)>) -> Self {
        let tables_of = |is_its: fn(&str) -> bool| {
            let tables = tables.iter().filter(move |(_, name)| is_its(name));
            tables.map(|(family, name)| format!("nft table {family} {name}"))
        };
        let chains_of = |is_its: fn(&str) -> bool| {
            let chains = chains.iter().filter(move |(_, chain)| is_its(chain));
            chains.map(|(family, chain)| words(family, chain))
        };
        let is_flannels = |chain: &str| chain.starts_with(FLANNEL_PREFIX);
        let flannel: BTreeSet<String> =
            chains_of(is_flannels).chain(tables_of(is_flannel_table)).collect();
        let queues = || tables_of(|name| QUEUE_TABLES.contains(&name));
        let of_proxy = tables_of(|name| name == PROXY_TABLE);
        Self {
            flannel: flannel.into_iter().collect(),
            policy: chains_of(is_policy).chain(queues()).collect(),
            policy_elsewhere: chains_of(|chain| of_iptables(chain).starts_with(CALICO_PREFIX))
                .collect(),
            services: chains_of(|chain| chain.starts_with(PROXY_CHAIN)).chain(of_proxy).collect(),
        }
    }
}

/// Whether a chain is there for a network policy, and not for whoever may get one.
fn is_policy(chain: &str) -> bool {
    let hash = chain.strip_prefix(KUBE_ROUTER_PREFIX);
    hash.is_some_and(|hash| hash.len() == KUBE_ROUTER_HASH)
        || CALICO_PREFIXES.iter().any(|prefix| of_iptables(chain).starts_with(prefix))
}

/// The name that a chain of Calico has in iptables.
fn of_iptables(chain: &str) -> &str {
    chain.strip_prefix(CALICO_IN_NFTABLES).unwrap_or(chain)
}

/// A chain in words; that it is one of IPv4 goes without saying.
fn words(family: &str, chain: &str) -> String {
    if family == "ip6" { format!("ip6 chain {chain}") } else { format!("chain {chain}") }
}

/// flannel's tables in nftables mode; it makes both even on an IPv4-only node.
fn is_flannel_table(name: &str) -> bool {
    matches!(name, "flannel-ipv4" | "flannel-ipv6")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signs(tables: &[&str], chains: &[&str]) -> NetfilterSigns {
        let tables: Vec<_> = tables.iter().map(|name| ("inet", (*name).to_owned())).collect();
        NetfilterSigns::of(&tables, &chains.iter().map(|it| ("ip", (*it).to_owned())).collect())
    }

    /// What k3s and canal have without a single policy.
    #[test]
    fn chains_that_wait_for_policies_are_none() {
        let found = signs(
            &["kube-proxy", "filter"],
            &[
                "KUBE-ROUTER-FORWARD",
                "KUBE-NWPLCY-DEFAULT",
                "KUBE-NWPLCY-COMMON",
                "KUBE-POD-FW-4NQZ5MN5URT3RHBX",
                "cali-FORWARD",
                "cali-fw-cali1a2b3c4d5e6",
                "cali-pri-kns.default",
            ],
        );
        assert_eq!(found.policy, [""; 0]);
        assert_eq!(found.services, ["nft table inet kube-proxy"]);
        assert_eq!(found.policy_elsewhere.len(), 3, "{found:?}");
    }

    #[test]
    fn a_chain_of_a_policy_is_a_sign() {
        for chain in
            ["KUBE-NWPLCY-XAEIGWMKXRKV6XZ6", "cali-pi-_Tz0VFh3CqEd8Qx1", "filter-cali-go-_1"]
        {
            assert_eq!(signs(&[], &["KUBE-SERVICES", chain]).policy, [format!("chain {chain}")]);
        }
        let queue = signs(&["kube-network-policies"], &["postrouting"]);
        assert_eq!(queue.policy, ["nft table inet kube-network-policies"]);
    }

    #[test]
    fn flannels_own_are_told_with_their_family() {
        let chains = [("ip", "FLANNEL-FWD"), ("ip6", "FLANNEL-FWD"), ("ip", "FORWARD")];
        let chains = chains.map(|(family, name)| (family, name.to_owned())).into();
        let found = NetfilterSigns::of(&[("ip", "flannel-ipv4".to_owned())], &chains);
        let expected = ["chain FLANNEL-FWD", "ip6 chain FLANNEL-FWD", "nft table ip flannel-ipv4"];
        assert_eq!(found.flannel, expected);
    }
}
