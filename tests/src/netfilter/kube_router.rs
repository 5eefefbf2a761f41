//! What kube-router's controller of network policies, which k3s has built in, puts on a node without a
//! single policy: a chain for each pod that lets everything pass (pkg/controllers/netpol of kube-router
//! 2.6).

use super::Rules;
use crate::plan::{Family, Node};

const HOOKS: [&str; 3] = ["INPUT", "FORWARD", "OUTPUT"];
/// What every pod's chain begins with, and what stands there for no policy.
const COMMON: &str = "KUBE-NWPLCY-COMMON";
const DEFAULT: &str = "KUBE-NWPLCY-DEFAULT";

/// What is put before all other rules of the hooks.
pub(super) fn filter(node: &Node, family: Family) -> Rules {
    let jumps = HOOKS.map(|hook| format!("-I {}", jump(hook)));
    let mut rules: Vec<String> = jumps.into_iter().chain(common(family)).collect();
    rules.push(format!("-A {DEFAULT} -j MARK --set-xmark 0x10000/0x10000"));
    for ip in addresses(node, family) {
        rules.extend(of_pod(&ip));
    }
    rules.push("-A FORWARD -m mark --mark 0x20000/0x20000 -j ACCEPT".to_owned());
    Rules { chains: chains(node, family), rules }
}

/// What takes all of that away, as lines of a restore.
pub(super) fn without(node: &Node, family: Family) -> Vec<String> {
    let hooks = HOOKS.iter().map(|hook| format!("-D {}", jump(hook)));
    let marked = "-D FORWARD -m mark --mark 0x20000/0x20000 -j ACCEPT".to_owned();
    let chains = chains(node, family);
    let each = |verb: &str| chains.iter().map(|it| format!("{verb} {it}")).collect::<Vec<_>>();
    let lines = hooks.chain([marked]).chain(each("-F")).chain(each("-X"));
    std::iter::once("*filter".to_owned()).chain(lines).chain(["COMMIT".to_owned()]).collect()
}

fn jump(hook: &str) -> String {
    format!("{hook} -j KUBE-ROUTER-{hook}")
}

fn chains(node: &Node, family: Family) -> Vec<String> {
    let hooks = HOOKS.map(|hook| format!("KUBE-ROUTER-{hook}"));
    let pods = addresses(node, family).map(|ip| of(&ip)).collect::<Vec<_>>();
    hooks.into_iter().chain([COMMON, DEFAULT].map(str::to_owned)).chain(pods).collect()
}

fn addresses(node: &Node, family: Family) -> impl Iterator<Item = String> {
    node.pods.iter().map(move |pod| pod.ip.of(family).to_string())
}

/// A pod's chain: the real names end in sixteen characters of a hash.
fn of(ip: &str) -> String {
    let digits: String = ip.chars().filter(char::is_ascii_hexdigit).collect();
    let last = digits.len().saturating_sub(16);
    format!("KUBE-POD-FW-{:0>16}", digits[last..].to_uppercase())
}

fn common(family: Family) -> [String; 4] {
    let icmp = |kind: &str| match family {
        Family::V4 => format!("-p icmp -m icmp --icmp-type {kind} -j ACCEPT"),
        Family::V6 => format!("-p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j ACCEPT"),
    };
    [
        "-m conntrack --ctstate INVALID -j DROP".to_owned(),
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT".to_owned(),
        icmp("echo-request"),
        icmp("destination-unreachable"),
    ]
    .map(|rule| format!("-A {COMMON} {rule}"))
}

fn of_pod(ip: &str) -> Vec<String> {
    let chain = of(ip);
    let to = |hook: &str, side: &str| format!("-A KUBE-ROUTER-{hook} {side} {ip} -j {chain}");
    let own = [
        format!("-j {COMMON}"),
        format!("-m addrtype --src-type LOCAL -d {ip} -j ACCEPT"),
        format!("-d {ip} -j {DEFAULT}"),
        format!("-s {ip} -j {DEFAULT}"),
        "-m mark ! --mark 0x10000/0x10000 -j REJECT".to_owned(),
        "-j MARK --set-xmark 0x0/0x10000".to_owned(),
        "-j MARK --set-xmark 0x20000/0x20000".to_owned(),
    ];
    let jumps = [to("FORWARD", "-d"), to("OUTPUT", "-d"), to("INPUT", "-s"), to("FORWARD", "-s")];
    jumps.into_iter().chain(own.map(|rule| format!("-A {chain} {rule}"))).collect()
}
