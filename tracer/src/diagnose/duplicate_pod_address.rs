//! `duplicate-pod-cidr-or-address`: packets come out of the tunnel whose source is an address of this
//! node: it exists on two nodes. The kernel takes them for forged and drops them
//! (net/ipv4/fib_frontend.c, `__fib_validate_source`, Linux 6.18), and answers stay here.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    case::Case,
    finding::{Confidence, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
    sighted::{ENOUGH, peers_at},
};
use crate::{
    evidence::{Flow, StagePair, Tables},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "duplicate-pod-cidr-or-address",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let Some((tables, _)) = case.working_overlay() else { return Ruling::default() };
    let flows = case.evidence.traffic.iter().flat_map(|traffic| &traffic.flows);
    let mut found = BTreeMap::<(IpAddr, IpAddr), u64>::new();
    for flow in flows.filter(|flow| tables.is_local(flow.source) && came_alone(flow)) {
        if let Some(node) = flow.outer_source.filter(|node| !tables.is_local(*node)) {
            *found.entry((flow.source, node)).or_default() += flow.packets.overlay_in;
        }
    }
    found.retain(|_, packets| *packets >= ENOUGH);
    let judged = found.iter().filter_map(|((address, node), packets)| {
        let sender = peers_at(case, *node).next()?;
        let peer = case.topology.peer_of(*address).unwrap_or(sender);
        Some(judged(case, tables, peer, (*address, *node), *packets))
    });
    Ruling::from(judged.collect::<Vec<_>>())
}

/// Packets of the flow came by the tunnel, and none left this node: a packet that a peer sent back
/// is this node's own.
const fn came_alone(flow: &Flow) -> bool {
    let packets = &flow.packets;
    let left = packets.pod_out + packets.overlay_out + packets.wire_out + flow.leaked;
    packets.wire_in > 0 && packets.overlay_in > 0 && left == 0
}

fn judged(
    case: &Case<'_>,
    tables: &Tables,
    peer: &Peer<'_>,
    (address, node): (IpAddr, IpAddr),
    packets: u64,
) -> Judged {
    let (name, cidr, seconds) = (case.overlay_name(), peer.cidr, case.evidence.window.seconds);
    let holder = tables.addresses.iter().find(|own| own.address == address);
    let device = case.name_of(holder.map(|own| own.ifindex));
    let mut subject = case.about_peer(peer);
    subject.address = Some(address);
    let is_own = case.topology.is_own(address);
    let repair = if is_own {
        "kubectl get nodes -o custom-columns=NAME:.metadata.name,CIDR:.spec.podCIDRs      (two nodes \
         have one CIDR: delete one Node, and restart flannel on it)"
            .to_owned()
    } else {
        let length = holder.map_or(32, |own| own.prefix_length);
        format!("ip address del {address}/{length} dev {device}      (if it is not this node's)")
    };
    let losses = [StagePair::OverlayToPod, StagePair::WireToPeer, StagePair::PodToOverlay];
    Judged {
        finding: RULE.finding(
            format!("{address} exists on this node and on {node}"),
            subject,
            case.in_window(),
            vec![
                format!("{address} is an address of {device} on this node"),
                format!(
                    "{packets} packets with the source {address} came from {node} out of {name} in \
                     {seconds:.1} s; none of their flows began here"
                ),
            ],
            vec![repair],
        ),
        rank: RULE.rank,
        supports: std::collections::BTreeSet::new(),
        explains: losses.into_iter().map(|pair| Effect::Loss(cidr, pair)).collect(),
        as_break: format!("address {address}"),
    }
}
