//! The node routes its pods' packets by their mark, and packets without one elsewhere: the strict
//! reverse-path filter, which asks without the mark, drops what comes back from a peer.
//!
//! The rules for what has no mark name protocols, and of UDP ports: a question for a route that names
//! none is asked as for a datagram without ports (inet_rtm_getroute() in net/ipv4/route.c, Linux 6.18),
//! and table main is to answer it, rightly. In IPv4 only: IPv6 has no such filter.

use super::{Fault, PLAIN, pair};
use crate::{
    plan::{ECHO_PORT, Family, Plan, Site},
    script::{Script, Tool},
};

const TABLE: &str = "inet fltr_mark";
const MARK: &str = "0x70";
/// The preference of the rule for what is marked.
const MARKED: u32 = 5199;
/// That of the rules for what is not.
const UNMARKED: u32 = 5200;
const ELSEWHERE: u32 = 53;
/// What the rules for what is not marked look at; PORT stands for that of the echo service.
const UNMARKED_ARE: [&str; 4] = ["icmp", "tcp", "udp sport PORT", "udp dport PORT"];

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "rp-filter-drops-inner",
    code: "rp-filter-drops-inner",
    summary: "packets out of the tunnel fail the strict reverse-path filter, which sees no mark",
    // What the node's pods send still comes out of the tunnel there.
    there: &["unexplained-loss", "tunnel-one-way"],
    families: &[Family::V4],
    by_drops: true,
    breaks: |plan, site| {
        let (victim, peer) = pair(plan, site);
        let (subnet, via) = (peer.subnet.of(site.family), plan.lan.gateway.of(site.family));
        let mark = [
            format!("add table {TABLE}"),
            format!("add chain {TABLE} here {{ type filter hook prerouting priority -150; }}"),
            format!(
                "add rule {TABLE} here iifname {} meta mark set meta mark or {MARK}",
                victim.bridge
            ),
        ];
        let marked = format!("rule add pref {MARKED} fwmark {MARK}/{MARK} lookup main");
        let elsewhere =
            format!("route add {subnet} via {via} dev {} table {ELSEWHERE}", victim.uplink);
        let lines = [marked, elsewhere].into_iter().chain(unmarked(plan, site, "add"));
        vec![
            Script::new(Tool::Nft, Some(&victim.namespace), mark),
            Script::ip(&victim.namespace, lines),
            filter(plan, site, 1),
        ]
    },
    heals: |plan, site| {
        let (victim, _) = pair(plan, site);
        let lines = [format!("rule del pref {MARKED}"), format!("route flush table {ELSEWHERE}")];
        vec![
            filter(plan, site, 0),
            Script::ip(&victim.namespace, lines.into_iter().chain(unmarked(plan, site, "del"))),
            Script::new(Tool::Nft, Some(&victim.namespace), [format!("delete table {TABLE}")]),
        ]
    },
    ..PLAIN
}];

/// The rules for packets of the victim's pods that have no mark. What the node itself sends is
/// routed as before.
fn unmarked(plan: &Plan, site: Site, what: &str) -> Vec<String> {
    let pods = plan.nodes[site.victim].pods.iter().map(|pod| pod.ip.of(site.family));
    let rules = pods.flat_map(|pod| {
        UNMARKED_ARE.map(|are| {
            let are = are.replace("PORT", &ECHO_PORT.to_string());
            format!("rule {what} pref {UNMARKED} from {pod} ipproto {are} lookup {ELSEWHERE}")
        })
    });
    rules.collect()
}

fn filter(plan: &Plan, site: Site, mode: u8) -> Script {
    let setting = format!("ipv4/conf/{}/rp_filter={mode}", plan.overlay(site.family));
    Script::new(Tool::Sysctl, Some(&plan.nodes[site.victim].namespace), [setting])
}
