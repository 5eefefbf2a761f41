//! flannel's traces in netfilter: signs that this is a flannel node.
//!
//! Looking changes nothing: no kernel module is loaded and no table made by it.

mod legacy;
mod nft;

use std::collections::BTreeSet;

/// What flannel's chains begin with, in iptables mode.
const CHAIN_PREFIX: &str = "FLANNEL-";

/// flannel's chains and tables of this thread's network namespace, e.g. `chain FLANNEL-FWD` or
/// `nft table ip flannel-ipv4`, each once. Needs the capability NET_ADMIN.
///
/// # Errors
/// When nftables or the legacy tables cannot be read.
pub fn flannel_signs() -> anyhow::Result<Vec<String>> {
    let nft = nft::names()?;
    let chains = nft.chains.into_iter().chain(legacy::chains()?);
    let chains = chains.filter(|chain| chain.starts_with(CHAIN_PREFIX));
    let tables = nft.tables.into_iter().filter(|(_, name)| is_flannel_table(name));
    let signs: BTreeSet<String> = chains
        .map(|chain| format!("chain {chain}"))
        .chain(tables.map(|(family, name)| format!("nft table {family} {name}")))
        .collect();
    Ok(signs.into_iter().collect())
}

/// flannel's tables in nftables mode; it makes both even on an IPv4-only node.
fn is_flannel_table(name: &str) -> bool {
    matches!(name, "flannel-ipv4" | "flannel-ipv6")
}
