//! `cni0-wrong-address`: the bridge of the pods has no address of this node's pod subnet. Pods ask
//! for their gateway in vain, and what comes for them goes out by the default route.
//!
//! An address inside the subnet that is not its first is a gateway that somebody chose.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    pods,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::{Address, Family, Link, StagePair, Tables},
    topology::nth_address,
};

pub(super) const RULE: Rule = Rule {
    code: "cni0-wrong-address",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Device,
    judge,
};

/// The address that the bridge should have, and what tells it.
struct Expected {
    address: IpNet,
    source: String,
}

fn judge(case: &Case<'_>) -> Ruling {
    let Some(tables) = case.topology.tables else { return Ruling::default() };
    // One that is down has lost its IPv6 addresses.
    let Some(bridge) = case.topology.bridge.filter(|bridge| bridge.up) else {
        return Ruling::default();
    };
    if pods::ports(case, tables).is_empty() || pods::are_without_bridge(case, tables) {
        return Ruling::default();
    }
    let has: Vec<&Address> =
        tables.addresses_of(bridge.index).filter(|it| is_global(it.address)).collect();
    let is_wrong = |subnet: &IpNet| is_wrong(case, tables, bridge, &has, *subnet);
    let intended = intended(case);
    if let Some(expected) = intended.iter().find(|it| is_wrong(&it.address)) {
        return Ruling::from(vec![judged(case, bridge, &has, expected)]);
    }
    match case.topology.own_cidrs.iter().find(|own| intended.is_empty() && is_wrong(own)) {
        Some(own) => by_tables(case, bridge, &has, *own),
        None => Ruling::default(),
    }
}

/// None of the bridge's addresses lies in the subnet. A bridge without IPv6 addresses may serve
/// pods that have none; it needs one where a pod was heard of by its own.
fn is_wrong(
    case: &Case<'_>,
    tables: &Tables,
    bridge: &Link,
    has: &[&Address],
    subnet: IpNet,
) -> bool {
    let of_family = |it: &&&Address| it.address.is_ipv4() == subnet.addr().is_ipv4();
    let mut same = has.iter().filter(of_family).peekable();
    let needs_one = subnet.addr().is_ipv4()
        || has.is_empty()
        || same.peek().is_some()
        || speaks_of_pod(case, tables, bridge, subnet);
    needs_one && !same.any(|it| subnet.contains(&it.address))
}

/// The bridge has a neighbour in the subnet, or a pod sent from an address in it.
fn speaks_of_pod(case: &Case<'_>, tables: &Tables, bridge: &Link, subnet: IpNet) -> bool {
    let mut neighbours = tables.neighbours.iter();
    let mut flows = case.evidence.traffic.iter().flat_map(|traffic| &traffic.flows);
    neighbours.any(|it| it.ifindex == bridge.index && subnet.contains(&it.address))
        || flows.any(|it| it.packets.pod_out > 0 && subnet.contains(&it.source))
}

/// What subnet.env says, or this node's own line in a peers file.
fn intended(case: &Case<'_>) -> Vec<Expected> {
    let intent = case.topology.intent;
    if let Some(env) = &intent.subnet_env {
        let source = env.path.display().to_string();
        let of = |subnet: &IpNet| Expected { address: *subnet, source: source.clone() };
        let is_judged = |subnet: &&IpNet| Family::of_net(**subnet) == case.topology.family;
        return env.subnets.iter().filter(is_judged).map(of).collect();
    }
    let is_own = |node_ip| Some(node_ip) == case.node_ip();
    let own = case.topology.intended().filter(|peer| is_own(peer.node_ip));
    own.filter_map(|peer| {
        Some(Expected { address: gateway_of(peer.pod_cidr)?, source: peer.source.clone() })
    })
    .collect()
}

/// Without intent the tables contradict each other, and which one is right only the peers tell:
/// they send to the subnet that they know.
fn by_tables(case: &Case<'_>, bridge: &Link, has: &[&Address], own: IpNet) -> Ruling {
    let overlay = case.overlay_name();
    let Some(address) = gateway_of(own) else { return Ruling::default() };
    match received(case, own) {
        0 => Ruling {
            judged: Vec::new(),
            unseen: vec![format!(
                "which of two devices is right: {overlay} begins the subnet {own}, and {} has {}; \
                 without subnet.env and without packets for pods nothing tells it",
                bridge.name,
                words(has)
            )],
        },
        packets => {
            let source = format!(
                "{overlay} begins that subnet, and {packets} packets came by the tunnel for its pods"
            );
            Ruling::from(vec![judged(case, bridge, has, &Expected { address, source })])
        }
    }
}

/// Packets that peers sent to pods of `own`: a lower bound.
fn received(case: &Case<'_>, own: IpNet) -> u64 {
    let overlay: Vec<IpAddr> = case.topology.overlay_addresses().collect();
    let flows = case.evidence.traffic.iter().flat_map(|traffic| &traffic.flows);
    flows
        .filter(|flow| own.contains(&flow.destination) && !overlay.contains(&flow.destination))
        .map(|flow| flow.packets.overlay_in)
        .sum()
}

fn judged(case: &Case<'_>, bridge: &Link, has: &[&Address], expected: &Expected) -> Judged {
    let (name, node) = (&bridge.name, &case.evidence.node.name);
    let (has_words, wanted) = (words(has), expected.address);
    Judged {
        finding: RULE.finding(
            format!("{name} has {has_words}, expected {wanted}: its pods reach nothing"),
            case.about_interface(name),
            case.before_start(),
            vec![
                format!("the bridge {name} has {has_words}, with pods on it"),
                format!("{wanted} is expected: {}", expected.source),
            ],
            vec![
                format!("ip link delete {name}"),
                format!("kubectl drain {node} --ignore-daemonsets --delete-emptydir-data"),
                format!("kubectl uncordon {node}"),
                format!(
                    "(the next pod has {name} made anew, with the right address; pods that keep \
                     running, DaemonSets' too, do not return to it and must be re-created)"
                ),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: explains(case, has),
        as_break: format!("address of {name}"),
    }
}

/// A peer whose CIDR the bridge claims loses its route too.
fn explains(case: &Case<'_>, has: &[&Address]) -> BTreeSet<Effect> {
    let claims = |cidr: IpNet| has.iter().any(|it| cidr.contains(&it.address));
    let mut effects = BTreeSet::from([Effect::StrayLeak(case.topology.family)]);
    for peer in &case.topology.peers {
        effects.extend([
            Effect::Loss(peer.cidr, StagePair::PodToOverlay),
            Effect::Loss(peer.cidr, StagePair::OverlayToPod),
            Effect::Silence(peer.cidr),
        ]);
        effects.extend(claims(peer.cidr).then_some(Effect::NoRoute(peer.cidr)));
    }
    effects
}

/// The first address of a subnet, with its length.
fn gateway_of(subnet: IpNet) -> Option<IpNet> {
    IpNet::new(nth_address(subnet, 1), subnet.prefix_len()).ok()
}

fn words(has: &[&Address]) -> String {
    if has.is_empty() {
        return "no address".to_owned();
    }
    let words = has.iter().map(|it| format!("{}/{}", it.address, it.prefix_length));
    words.collect::<Vec<_>>().join(" and ")
}

const fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_link_local(),
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    }
}
