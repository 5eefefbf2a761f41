//! The packet filter rules of a node: flannel's, kube-proxy's, and those for network policies.

mod flannel;
mod kube_proxy;
mod kube_proxy_nftables;
mod kube_router;

use std::net::SocketAddr;

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

/// Takes kube-proxy's rules for the DNS service away from a node.
#[must_use]
pub fn without_dns(plan: &Plan, node: &Node, family: Family) -> Script {
    match plan.proxy_rules {
        ProxyRules::Iptables => {
            let rule = kube_proxy::dns_portal(plan, family).replacen("-A", "-D", 1);
            table(node, family, "nat", rule)
        }
        ProxyRules::Nftables => nft(node, kube_proxy_nftables::dns("delete", plan, family)),
    }
}

/// Gives them back.
#[must_use]
pub fn with_dns(plan: &Plan, node: &Node, family: Family) -> Script {
    match plan.proxy_rules {
        ProxyRules::Iptables => table(node, family, "nat", kube_proxy::dns_portal(plan, family)),
        ProxyRules::Nftables => nft(node, kube_proxy_nftables::dns("add", plan, family)),
    }
}

/// Takes kube-proxy's rule for the VIP away from a node.
#[must_use]
pub fn without_web(plan: &Plan, node: &Node, family: Family) -> Script {
    match plan.proxy_rules {
        ProxyRules::Iptables => {
            let rule = kube_proxy::web_portal(plan, family).replacen("-A", "-D", 1);
            table(node, family, "nat", rule)
        }
        ProxyRules::Nftables => nft(node, [kube_proxy_nftables::without_web(plan, family)]),
    }
}

/// Has a node drop what is for the VIP, as kube-proxy does with `externalTrafficPolicy: Local` and
/// without an endpoint on the node.
#[must_use]
pub fn without_local_web(plan: &Plan, node: &Node, family: Family) -> Script {
    match plan.proxy_rules {
        ProxyRules::Iptables => {
            let lines = kube_proxy::no_local_endpoints(plan, family);
            Script::new(iptables(family), Some(&node.namespace), lines)
        }
        ProxyRules::Nftables => nft(node, kube_proxy_nftables::no_local_endpoints(plan, family)),
    }
}

/// Has a node stand ready for network policies, as k3s does, though there are none.
#[must_use]
pub fn ready_for_policies(node: &Node, family: Family) -> Script {
    let lines = kube_router::filter(node, family).lines("filter");
    Script::new(iptables(family), Some(&node.namespace), lines)
}

/// Takes that away.
#[must_use]
pub fn not_ready_for_policies(node: &Node, family: Family) -> Script {
    Script::new(iptables(family), Some(&node.namespace), kube_router::without(node, family))
}

/// Has a node refuse a service to its pods, as kube-proxy does for one without endpoints.
#[must_use]
pub fn refusing(plan: &Plan, node: &Node, service: SocketAddr, protocol: &str) -> Script {
    let family = Family::from(service.ip());
    match plan.proxy_rules {
        ProxyRules::Iptables => {
            let rule = kube_proxy::refusal(service, protocol);
            table(node, family, "filter", format!("-I FORWARD 1 {rule}"))
        }
        ProxyRules::Nftables => nft(node, kube_proxy_nftables::refusal("add", service, protocol)),
    }
}

/// Has it refuse that no longer.
#[must_use]
pub fn not_refusing(plan: &Plan, node: &Node, service: SocketAddr, protocol: &str) -> Script {
    let family = Family::from(service.ip());
    match plan.proxy_rules {
        ProxyRules::Iptables => {
            let rule = kube_proxy::refusal(service, protocol);
            table(node, family, "filter", format!("-D FORWARD {rule}"))
        }
        ProxyRules::Nftables => {
            nft(node, kube_proxy_nftables::refusal("delete", service, protocol))
        }
    }
}

fn nft(node: &Node, lines: impl IntoIterator<Item = String>) -> Script {
    Script::new(Tool::Nft, Some(&node.namespace), lines)
}

/// One line for a table of iptables.
fn table(node: &Node, family: Family, table: &str, line: String) -> Script {
    let lines = [format!("*{table}"), line, "COMMIT".to_owned()];
    Script::new(iptables(family), Some(&node.namespace), lines)
}

const fn iptables(family: Family) -> Tool {
    match family {
        Family::V4 => Tool::Iptables,
        Family::V6 => Tool::Ip6tables,
    }
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
            scripts.push(nft(node, kube_proxy_nftables::table(plan, family)));
        }
    }
    if plan.flannel_rules == FlannelRules::Iptables {
        filter.add(flannel::filter(plan, family));
        nat.add(flannel::nat(plan, node, family));
    }
    let lines = filter.lines("filter").chain(nat.lines("nat"));
    scripts.push(Script::new(iptables(family), Some(&node.namespace), lines));
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
