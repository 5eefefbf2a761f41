//! A packet filter of a node that refuses something: by nftables in a table of its own, or by
//! iptables in front of a chain.

use anyhow::Result;

use super::Injection;
use crate::{
    plan::{Family, Node, Plan, Site},
    script::{Script, Tool},
};

const TABLE: &str = "fltr_drop";

/// A chain of nftables.
pub struct Chain {
    /// The family of its table.
    pub(super) of: &'static str,
    /// What it hooks, and its priority.
    pub(super) hook: String,
}

// === impl Chain ===

impl Chain {
    /// A chain of both IP versions, before those of others.
    #[must_use]
    pub fn inet(hook: &str) -> Self {
        Self { of: "inet", hook: format!("{hook} priority -10") }
    }

    /// The same before any address is translated.
    #[must_use]
    pub fn before_nat() -> Self {
        Self { of: "inet", hook: "prerouting priority -150".to_owned() }
    }

    /// What has a node follow a rule, `matches verdict`.
    #[must_use]
    pub fn with(&self, node: &Node, rule: &str) -> Script {
        let Self { of, hook } = self;
        let lines = [
            format!("add table {of} {TABLE}"),
            format!("add chain {of} {TABLE} here {{ type filter hook {hook}; }}"),
            format!("add rule {of} {TABLE} here {rule}"),
        ];
        Script::new(Tool::Nft, Some(&node.namespace), lines)
    }

    /// What takes the chain away.
    #[must_use]
    pub fn without(&self, node: &Node) -> Script {
        let line = format!("delete table {} {TABLE}", self.of);
        Script::new(Tool::Nft, Some(&node.namespace), [line])
    }

    /// Lets a node drop what matches, until it is dropped itself.
    ///
    /// # Errors
    /// When the node takes no such rule.
    pub fn dropping(&self, node: &Node, matches: &str) -> Result<Injection> {
        let with = self.with(node, &format!("{matches} drop"));
        Injection::apply(&[with], vec![self.without(node)])
    }

    /// Drops what matches on the victim.
    pub(super) fn drops(&self, plan: &Plan, site: Site, matches: &str) -> Vec<Script> {
        vec![self.with(&plan.nodes[site.victim], &format!("{matches} drop"))]
    }

    /// Takes it away.
    pub(super) fn heals(&self, plan: &Plan, site: Site) -> Vec<Script> {
        vec![self.without(&plan.nodes[site.victim])]
    }
}

/// A rule of iptables' table `filter` on the victim: `verb` puts it there or takes it away.
pub(super) fn iptables(plan: &Plan, site: Site, verb: &str, rule: &str) -> Vec<Script> {
    let tool = match site.family {
        Family::V4 => Tool::Iptables,
        Family::V6 => Tool::Ip6tables,
    };
    let lines = ["*filter".to_owned(), format!("{verb} {rule} -j DROP"), "COMMIT".to_owned()];
    vec![Script::new(tool, Some(&plan.nodes[site.victim].namespace), lines)]
}
