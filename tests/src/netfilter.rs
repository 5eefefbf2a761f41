//! The packet filter rules of a node: flannel's and kube-proxy's.

mod flannel;
mod kube_proxy;

use crate::{
    plan::{Family, FlannelRules, Node, Plan, ProxyRules},
    script::{Script, Tool},
};

/// All rules of a node.
#[must_use]
pub fn scripts(plan: &Plan, node: &Node) -> Vec<Script> {
    let families = plan.families().iter();
    let mut scripts: Vec<Script> =
        families.flat_map(|family| of_family(plan, node, *family)).collect();
    if plan.flannel_rules == FlannelRules::Nftables {
        let lines = flannel::nftables(plan, node);
        scripts.push(Script::new(Tool::Nft, Some(&node.namespace), lines));
    }
    scripts
}

fn of_family(plan: &Plan, node: &Node, family: Family) -> Vec<Script> {
    let (mut filter, mut nat) = (Rules::default(), Rules::default());
    let mut scripts = Vec::new();
    match plan.proxy_rules {
        ProxyRules::Iptables => {
            filter.add(kube_proxy::filter());
            nat.add(kube_proxy::nat(plan, family));
        }
        ProxyRules::Nftables => {
            let lines = kube_proxy::nftables(plan, family);
            scripts.push(Script::new(Tool::Nft, Some(&node.namespace), lines));
        }
    }
    if plan.flannel_rules == FlannelRules::Iptables {
        filter.add(flannel::filter(plan, family));
        nat.add(flannel::nat(plan, node, family));
    }
    let tool = match family {
        Family::V4 => Tool::Iptables,
        Family::V6 => Tool::Ip6tables,
    };
    let lines = filter.lines("filter").chain(nat.lines("nat"));
    scripts.push(Script::new(tool, Some(&node.namespace), lines));
    scripts
}

/// Chains and rules for one table of iptables.
#[derive(Debug, Default)]
struct Rules {
    chains: Vec<String>,
    rules: Vec<String>,
}

impl Rules {
    fn new<const C: usize>(chains: [&str; C], rules: Vec<String>) -> Self {
        Self { chains: chains.map(str::to_owned).into(), rules }
    }

    fn add(&mut self, other: Self) {
        self.chains.extend(other.chains);
        self.rules.extend(other.rules);
    }

    fn lines(self, table: &str) -> impl Iterator<Item = String> + use<> {
        let head = format!("*{table}");
        let chains = self.chains.into_iter().map(|chain| format!(":{chain} - [0:0]"));
        std::iter::once(head).chain(chains).chain(self.rules).chain(["COMMIT".into()])
    }
}
