//! A node of the lab is as flannel writes it, in every family that the cluster speaks.

use std::fs;

use tracer_tests::plan::{Family, Node, Plan, Stack};

use super::{STACKS, lab_of, shown};

#[test]
fn a_node_is_as_flannel_writes_it() {
    for stack in STACKS {
        let lab = lab_of(3, 3, stack);
        let plan = lab.plan();
        for node in 0..plan.nodes.len() {
            plan.families().iter().for_each(|family| is_as_flannel_writes_it(plan, node, *family));
            has_flannels_rules_and_process(plan, &plan.nodes[node]);
        }
    }
}

fn is_as_flannel_writes_it(plan: &Plan, index: usize, family: Family) {
    let (node, overlay) = (&plan.nodes[index], plan.overlay(family));
    let (end, version) = (node.end(family), if family == Family::V4 { "-4" } else { "-6" });
    let ip = |arguments: &[&str]| {
        shown(&node.namespace, "ip", &[arguments, &["show", "dev", &overlay]].concat())
    };
    let link = ip(&["-d", "link"]);
    for part in [
        format!("vxlan id {} local {} dev {}", plan.vni, end.ip, node.uplink),
        format!("dstport {} nolearning", plan.port),
        format!("mtu {}", if family == Family::V4 { 1450 } else { 1430 }),
        end.vtep_mac.to_string(),
    ] {
        assert!(link.contains(&part), "{part} in {link}");
    }
    let routes = ip(&["-N", version, "route"]);
    let neighbours = ip(&[version, "neigh"]);
    let fdb = shown(&node.namespace, "bridge", &["fdb", "show", "dev", &overlay]);
    assert_eq!(routes.matches(" via ").count(), 2, "{routes}");
    for peer in plan.others(index).into_iter().map(|peer| plan.nodes[peer].end(family)) {
        let (subnet, via) = (peer.subnet, peer.flannel_ip());
        let metric = if family == Family::V4 { "" } else { "metric 1024 " };
        let route = format!("{subnet} via {via} {metric}onlink");
        assert!(routes.contains(&route), "{route} in {routes}");
        let neighbour = format!("{via} lladdr {} PERMANENT", peer.vtep_mac);
        assert!(neighbours.contains(&neighbour), "{neighbour} in {neighbours}");
        let entry = format!("{} dst {} self permanent", peer.vtep_mac, peer.ip);
        assert!(fdb.contains(&entry), "{entry} in {fdb}");
    }
    let addresses = ip(&["addr"]);
    let (word, own) = (if family == Family::V4 { "inet" } else { "inet6" }, end.flannel_ip());
    let address = format!("{word} {own}/{} scope global", family.bits());
    assert!(addresses.contains(&address), "{address} in {addresses}");
    assert!(addresses.contains("inet6 fe80::"), "IPv6 stays enabled: {addresses}");
}

fn has_flannels_rules_and_process(plan: &Plan, node: &Node) {
    for family in plan.families() {
        let tool = if *family == Family::V4 { "iptables-save" } else { "ip6tables-save" };
        let rules = shown(&node.namespace, tool, &[]);
        assert!(rules.contains(r#"--comment "flanneld masq" -j FLANNEL-POSTRTG"#), "{rules}");
    }
    let processes = shown(&node.namespace, "ip", &["netns", "pids", &node.namespace]);
    let is_flanneld =
        |pid: &str| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap() == "flanneld\n";
    assert!(processes.split_whitespace().any(is_flanneld), "{processes}");
}

#[test]
fn a_lab_speaks_no_family_but_its_own() {
    for (stack, other) in [(Stack::V4, Family::V6), (Stack::V6, Family::V4)] {
        let lab = lab_of(52, 2, stack);
        let node = &lab.plan().nodes[0];
        let links = shown(&node.namespace, "ip", &["link"]);
        assert!(!links.contains(&format!(" {}:", lab.plan().overlay(other))), "{links}");
        let version = if other == Family::V4 { "-4" } else { "-6" };
        for namespace in [&node.namespace, &node.pods[0].namespace] {
            let show = [version, "addr", "show", "scope", "global"];
            let addresses = shown(namespace, "ip", &show);
            assert!(!addresses.contains("inet"), "{addresses}");
        }
    }
}
