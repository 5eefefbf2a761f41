//! A node has fallen silent and the other still has its MAC: packets leave, nothing comes back, and
//! the kernel asks whether it is still there. It asks three times, a second apart, before it gives
//! the MAC up; here it asks for as long as the fault lasts.

use super::{Fault, PLAIN, Strikes, pair};
use crate::{
    netns,
    plan::{Family, Node, Plan, Site},
    script::{Script, Tool},
};

/// How often a node is asked for before its MAC is given up, and the kernel's own number.
const ALWAYS: u32 = 100_000;
const USUAL: u32 = 3;

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "peer-node-silent",
    code: "peer-node-silent",
    summary: "the switch carries nothing between the node and a peer, whose MACs both still know",
    there: &["peer-node-silent"],
    strikes: Strikes::AllFamilies,
    ethernet_only: Some("a relay has no ports to isolate, and nobody asks for a MAC"),
    breaks: |plan, site| {
        let mut scripts = isolate(plan, site, "on");
        for [node, other] in both(plan, site) {
            scripts.push(ask(plan, node, ALWAYS));
            let probe = |family: &Family| {
                let (ip, mac, uplink) = (other.ip.of(*family), other.uplink_mac, &node.uplink);
                format!("neigh replace {ip} lladdr {mac} dev {uplink} nud probe")
            };
            scripts.push(Script::ip(&node.namespace, plan.families().iter().map(probe)));
        }
        scripts
    },
    heals: |plan, site| {
        let usual = both(plan, site).map(|[node, _]| ask(plan, node, USUAL));
        [isolate(plan, site, "off"), usual.into()].concat()
    },
    ..PLAIN
}];

fn both(plan: &Plan, site: Site) -> [[&Node; 2]; 2] {
    let (victim, peer) = pair(plan, site);
    [[victim, peer], [peer, victim]]
}

/// How often a node asks for one whose MAC it knows.
fn ask(plan: &Plan, node: &Node, times: u32) -> Script {
    let setting = |family: &Family| {
        let version = match family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        };
        format!("{version}/neigh/{}/ucast_solicit={times}", node.uplink)
    };
    Script::new(Tool::Sysctl, Some(&node.namespace), plan.families().iter().map(setting))
}

/// Isolated ports of a bridge reach all others but one another.
fn isolate(plan: &Plan, site: Site, state: &str) -> Vec<Script> {
    let (victim, peer) = pair(plan, site);
    let lines = [victim, peer].map(|node| format!("link set dev {} isolated {state}", node.name));
    vec![Script::bridge(netns::SWITCH, lines)]
}
