//! `pmtud-icmp-blocked`: pods send packets that are too large for the tunnel, the kernel answers each
//! with an ICMP error, and that error is dropped before the pod has it. So the pod goes on, and large
//! packets never arrive: connections open and then hang.
//!
//! Where the error arrives, the pod sends smaller packets for ten minutes
//! (`net.ipv4.route.mtu_expires`): one packet to each address is dropped, or those of one burst.
//!
//! Packets that the node answers so are no loss between stages: the drops alone count them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

use super::{
    case::Case,
    dropped::{Dropped, Dropper, ENOUGH, Told, Way, covers, lasting, told, way},
    finding::{Confidence, Severity},
    pods,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::{Drop, DropPlace, Family, Link, StagePair},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "pmtud-icmp-blocked",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    // Over the larger MTU of pods, which does no harm while the errors arrive.
    rank: Rank::Kernel,
    judge,
};

/// "Fragmentation needed" and "packet too big": protocol, type and code.
const TOO_BIG: [(u8, u16, u16); 2] = [(1, 3, 4), (58, 2, 0)];

/// The packets of one pod for one address of a peer.
type Pair = (IpAddr, IpAddr, IpNet);

fn judge(case: &Case<'_>) -> Ruling {
    let errors = lasting(case, lost_error);
    let mut refused = lasting(case, |drop| too_big(case, drop));
    refused.retain(|(pod, _, _), _| errors.contains_key(pod));
    refused.retain(|(_, _, cidr), _| case.topology.peer(*cidr).is_some_and(is_in_tunnel));
    let judged = (!refused.is_empty()).then(|| judged(case, &refused, &errors));
    Ruling::from(judged)
}

/// Whose error it was that a firewall dropped, in the node or in the pod itself.
fn lost_error(drop: &Drop) -> Option<IpAddr> {
    let flow = drop.flow?;
    let what = (flow.protocol, flow.source_port, flow.destination_port);
    let by_firewall = matches!(told(drop, Dropper::Firewall)?, Told::Reason | Told::Function);
    (by_firewall && TOO_BIG.contains(&what)).then_some(flow.destination)
}

/// From where to where a packet was that is too big. Without a reason the kernel's counter has to say
/// the same.
fn too_big(case: &Case<'_>, drop: &Drop) -> Option<Pair> {
    let Way::Out(cidr) = way(case, drop)? else { return None };
    let flow = drop.flow.filter(|flow| case.topology.is_own(flow.source))?;
    let is_told = match told(drop, Dropper::TooBig)? {
        Told::Reason | Told::Function => true,
        Told::Perhaps => counted(case) >= drop.packets.min(ENOUGH),
    };
    is_told.then_some((flow.source, flow.destination, cidr))
}

fn is_in_tunnel(peer: &Peer<'_>) -> bool {
    peer.direct.is_none()
}

/// How many packets the kernel refused for their size.
fn counted(case: &Case<'_>) -> u64 {
    let snmp = case.evidence.statistics.as_ref().and_then(|it| it.snmp);
    snmp.map_or(0, |it| it.ip_fragment_fails)
}

fn judged(
    case: &Case<'_>,
    refused: &BTreeMap<Pair, Dropped<'_>>,
    errors: &BTreeMap<IpAddr, Dropped<'_>>,
) -> Judged {
    let (overlay, node) = (case.overlay_name(), &case.evidence.node.name);
    let peers: BTreeSet<IpNet> = refused.keys().map(|(_, _, cidr)| *cidr).collect();
    let losing = peers.iter().filter_map(|cidr| case.topology.peer(*cidr));
    let mut explains: BTreeSet<Effect> =
        losing.filter_map(|peer| explained_loss(peer, refused)).collect();
    explains.extend(peers.iter().map(|cidr| Effect::TooBig(*cidr)));
    explains.insert(Effect::LargePods);
    let mut evidence: Vec<String> = mtus(case).into_iter().collect();
    evidence.extend(refused.iter().map(|(pair, dropped)| large_packets(case, pair, dropped)));
    evidence.extend(errors.iter().map(|(pod, dropped)| lost_errors(case, *pod, dropped)));
    Judged {
        finding: RULE.finding(
            format!(
                "ICMP \"{}\" is blocked on {node}: pods never learn that {overlay} takes smaller packets",
                words(case.topology.family)
            ),
            case.about_node(&overlay),
            case.in_window(),
            evidence,
            repair(case, errors.values().flat_map(|it| &it.drops).all(|it| it.place == DropPlace::Pod)),
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains,
        as_break: "large packets of pods".to_owned(),
    }
}

/// A loss between stages, as where a route has a smaller MTU than the overlay device, is explained when
/// so many packets were too big.
fn explained_loss(peer: &Peer<'_>, refused: &BTreeMap<Pair, Dropped<'_>>) -> Option<Effect> {
    let its = refused.iter().filter(|((_, _, cidr), _)| *cidr == peer.cidr);
    let packets: u64 = its.map(|(_, dropped)| dropped.packets).sum();
    let lost = peer.traffic.map_or(0, |it| it.lost.pod_to_overlay);
    (lost > 0 && covers(packets, lost)).then_some(Effect::Loss(peer.cidr, StagePair::PodToOverlay))
}

fn mtus(case: &Case<'_>) -> Option<String> {
    let (tables, overlay) = case.working_overlay()?;
    let ports = pods::ports(case, tables);
    let largest = ports.into_iter().max_by_key(|link| link.mtu)?;
    let (Link { name, mtu, .. }, tunnel) = (largest, overlay.mtu);
    Some(format!("{name} of a pod has MTU {mtu}, {} has MTU {tunnel}", overlay.name))
}

fn large_packets(case: &Case<'_>, (pod, to, _): &Pair, dropped: &Dropped<'_>) -> String {
    let seconds = case.evidence.window.seconds;
    format!(
        "{} packets of {pod} for {to} were too big in {seconds:.1} s, again and again ({})",
        dropped.packets,
        dropped.by()
    )
}

fn lost_errors(case: &Case<'_>, pod: IpAddr, dropped: &Dropped<'_>) -> String {
    let place = match dropped.drops.first().map(|it| it.place) {
        Some(DropPlace::Pod) => "in the pod's own network namespace",
        _ => "on this node",
    };
    format!(
        "{} errors \"{}\" for {pod} were dropped {place} by a firewall ({})",
        dropped.packets,
        words(case.topology.family),
        dropped.by()
    )
}

const fn words(family: Family) -> &'static str {
    match family {
        Family::V4 => "fragmentation needed",
        Family::V6 => "packet too big",
    }
}

fn repair(case: &Case<'_>, is_in_pods: bool) -> Vec<String> {
    let (restore, accept) = match case.topology.family {
        Family::V4 => ("iptables", "-p icmp --icmp-type fragmentation-needed"),
        Family::V6 => ("ip6tables", "-p icmpv6 --icmpv6-type packet-too-big"),
    };
    let (place, chain) =
        if is_in_pods { ("in the pod's network namespace", "INPUT") } else { ("here", "OUTPUT") };
    let name = case.overlay_name();
    vec![
        format!(
            "nft list ruleset      ({place}: what drops ICMP in the hook {})",
            chain.to_lowercase()
        ),
        format!("{restore} -I {chain} {accept} -j ACCEPT      ({place})"),
        format!(
            "(pods that are re-created take the MTU of {name}, and then send nothing too large)"
        ),
    ]
}
