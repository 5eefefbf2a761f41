//! A packet filter of the victim that drops something: by nftables in a table of its own, or by
//! iptables in front of a chain.

use crate::{
    plan::{Family, Plan, Site},
    script::{Script, Tool},
};

const TABLE: &str = "fltr_drop";

/// A chain of nftables.
pub(super) struct Chain {
    /// The family of its table.
    pub(super) of: &'static str,
    /// What it hooks, and its priority.
    pub(super) hook: String,
}

// === impl Chain ===

impl Chain {
    /// A chain of both IP versions, before those of others.
    pub(super) fn inet(hook: &str) -> Self {
        Self { of: "inet", hook: format!("{hook} priority -10") }
    }

    /// Drops what matches.
    pub(super) fn drops(&self, plan: &Plan, site: Site, matches: &str) -> Vec<Script> {
        let Self { of, hook } = self;
        let lines = [
            format!("add table {of} {TABLE}"),
            format!("add chain {of} {TABLE} here {{ type filter hook {hook}; }}"),
            format!("add rule {of} {TABLE} here {matches} drop"),
        ];
        vec![on_victim(plan, site, Tool::Nft, lines.to_vec())]
    }

    /// Takes it away.
    pub(super) fn heals(&self, plan: &Plan, site: Site) -> Vec<Script> {
        vec![on_victim(plan, site, Tool::Nft, vec![format!("delete table {} {TABLE}", self.of)])]
    }
}

/// A rule of iptables' table `filter`: `verb` puts it there or takes it away.
pub(super) fn iptables(plan: &Plan, site: Site, verb: &str, rule: &str) -> Vec<Script> {
    let tool = match site.family {
        Family::V4 => Tool::Iptables,
        Family::V6 => Tool::Ip6tables,
    };
    let lines = ["*filter".to_owned(), format!("{verb} {rule} -j DROP"), "COMMIT".to_owned()];
    vec![on_victim(plan, site, tool, lines.to_vec())]
}

fn on_victim(plan: &Plan, site: Site, tool: Tool, lines: Vec<String>) -> Script {
    Script::new(tool, Some(&plan.nodes[site.victim].namespace), lines)
}
