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
/// What the chains of network policies begin with: kube-router's (k3s has it built in), Calico's.
const POLICY_PREFIXES: [&str; 3] = ["KUBE-NWPLCY", "KUBE-POD-FW", "cali-"];

/// kube-proxy's chain for services in iptables and IPVS mode, and its table in nftables mode.
const PROXY_CHAIN: &str = "KUBE-SERVICES";
const PROXY_TABLE: &str = "kube-proxy";

/// Who has rules in this thread's network namespace.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct NetfilterSigns {
    /// flannel's chains and tables, e.g. `chain FLANNEL-FWD`, `ip6 chain FLANNEL-FWD` or
    /// `nft table ip flannel-ipv4`.
    pub flannel: Vec<String>,
    /// Chains that carry network policies.
    pub policy: Vec<String>,
    /// kube-proxy's chain or table for services.
    pub services: Vec<String>,
}

/// The signs, each once. Needs the capability NET_ADMIN.
///
/// # Errors
/// When nftables or the legacy tables cannot be read.
pub fn netfilter_signs() -> anyhow::Result<NetfilterSigns> {
    let nft = nft::names()?;
    let chains: BTreeSet<(&str, String)> =
        nft.chains.into_iter().chain(legacy::chains()?).collect();
    let named = |(family, name): &(&str, String)| format!("nft table {family} {name}");
    let tables = nft.tables.iter().filter(|(_, name)| is_flannel_table(name)).map(named);
    let of_proxy = nft.tables.iter().filter(|(_, name)| name == PROXY_TABLE).map(named);
    let starting = |prefix: &str| {
        let chains = chains.iter().filter(move |(_, chain)| chain.starts_with(prefix));
        chains.map(|(family, chain)| words(family, chain)).collect::<Vec<_>>()
    };
    let flannel: BTreeSet<String> = starting(FLANNEL_PREFIX).into_iter().chain(tables).collect();
    let policy = POLICY_PREFIXES.iter().flat_map(|prefix| starting(prefix)).collect();
    let services = starting(PROXY_CHAIN).into_iter().chain(of_proxy).collect();
    Ok(NetfilterSigns { flannel: flannel.into_iter().collect(), policy, services })
}

/// A chain in words; that it is one of IPv4 goes without saying.
fn words(family: &str, chain: &str) -> String {
    if family == "ip6" { format!("ip6 chain {chain}") } else { format!("chain {chain}") }
}

/// flannel's tables in nftables mode; it makes both even on an IPv4-only node.
fn is_flannel_table(name: &str) -> bool {
    matches!(name, "flannel-ipv4" | "flannel-ipv6")
}
