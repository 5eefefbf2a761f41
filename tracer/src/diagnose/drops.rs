//! Which finding explains a drop: the tables of the same moment decide, not the kernel's word for it.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use super::{
    blocked::is_refused_as_closed,
    bridge_ports,
    case::Case,
    dns_servers,
    dropped::{self, Dropper, Way, told},
    finding::Impact,
    merge::Cause,
    rule::Effect,
    sighted::UDP,
    vip,
};
use crate::evidence::{DnsServer, Drop, DropFlow, DropPlace, Link, StagePair};

/// What the cause of a drop is called that no finding explains.
pub const UNEXPLAINED: &str = "unexplained";

/// The code of the finding that explains each drop of the evidence, in their order.
pub(super) fn causes_of(cases: &[Case<'_>], causes: &[&Cause]) -> Vec<&'static str> {
    let drops = cases.first().and_then(|case| case.evidence.drops.as_ref());
    let entries = drops.map_or(&[][..], |drops| &drops.entries);
    entries.iter().map(|drop| cause_of(cases, causes, drop)).collect()
}

fn cause_of(cases: &[Case<'_>], causes: &[&Cause], drop: &Drop) -> &'static str {
    let effects: Vec<Effect> = cases.iter().flat_map(|case| effects(case, drop)).collect();
    let explains = |cause: &&&Cause| effects.iter().any(|it| cause.judged.explains.contains(it));
    causes.iter().find(explains).map_or(UNEXPLAINED, |cause| cause.judged.finding.code)
}

/// The packets and flows that were dropped where no stage misses them: in pods, on the way to the node
/// itself or to the outside, behind the last stage, or as too big, which the node answers by ICMP.
pub(super) fn off_the_tunnels_way(cases: &[Case<'_>], hit: &BTreeSet<Effect>) -> Impact {
    let is_off = |effect: &Effect| {
        matches!(
            effect,
            Effect::InPod(_)
                | Effect::AtPort(_)
                | Effect::ToNode(_)
                | Effect::Outside(_)
                | Effect::ToVip(_)
                | Effect::Queued(_)
                | Effect::TooBig(_)
                | Effect::ToService(_)
        )
    };
    let is_hit = |drop: &&Drop| {
        let mut effects = cases.iter().flat_map(|case| effects(case, drop));
        effects.any(|effect| is_off(&effect) && hit.contains(&effect))
    };
    let Some(case) = cases.first() else { return Impact::default() };
    let drops: Vec<&Drop> = dropped::drops(case).filter(is_hit).collect();
    let flows: BTreeSet<Option<DropFlow>> = drops.iter().map(|drop| drop.flow).collect();
    Impact { packets: drops.iter().map(|drop| drop.packets).sum(), flows: flows.len() as u64 }
}

/// What the drop may be part of: packets between this node and a peer, lost where they were dropped.
pub(super) fn effects(case: &Case<'_>, drop: &Drop) -> Vec<Effect> {
    let Some(flow) = drop.flow else { return Vec::new() };
    let DropFlow { source, destination, .. } = flow;
    let topology = &case.topology;
    if drop.place == DropPlace::Pod {
        let ends = [source, destination].into_iter();
        return ends.filter(|end| topology.is_own(*end)).map(Effect::InPod).collect();
    }
    if let Some(pod) = bridge_ports::pod_of(case, drop) {
        return vec![Effect::AtPort(pod)];
    }
    let uncounted = match dropped::way(case, drop) {
        Some(Way::ToNode) => return vec![Effect::ToNode(source)],
        Some(Way::Outside) => return vec![to_outside(case, &flow)],
        Some(Way::TunnelOut(cidr)) if is_of_queue(drop) => Some(Effect::Queued(cidr)),
        Some(Way::Out(cidr)) => told(drop, Dropper::TooBig).map(|_| Effect::TooBig(cidr)),
        _ => None,
    };
    let to_peer = topology.peer_of(destination).map(|peer| (peer.cidr, pairs_outward(case, drop)));
    let inward = || topology.peer_of(source).map(|peer| (peer.cidr, pairs_inward(case, drop)));
    let found = to_peer.or_else(inward);
    let losses = |(cidr, pairs): (_, Vec<StagePair>)| {
        pairs.into_iter().map(move |pair| Effect::Loss(cidr, pair))
    };
    let to_vip = vip::of_drop(case, drop).map(|vip| Effect::ToVip(vip.address));
    uncounted.into_iter().chain(to_vip).chain(found.into_iter().flat_map(losses)).collect()
}

/// What a drop is part of whose packet was for none of the pod network.
fn to_outside(case: &Case<'_>, flow: &DropFlow) -> Effect {
    if is_refused_as_closed(case, flow) || is_unnamed_server(case, flow) {
        return Effect::ToService(SocketAddr::new(flow.destination, flow.destination_port));
    }
    Effect::Outside(flow.source)
}

/// Whether it is a query to a DNS server whose address no rule of kube-proxy names.
fn is_unnamed_server(case: &Case<'_>, flow: &DropFlow) -> bool {
    let is_query = (flow.protocol, flow.destination_port) == (UDP, dns_servers::PORT);
    let is_its = |(address, server): (IpAddr, &DnsServer)| {
        address == flow.destination && server.has_service_rules == Some(false)
    };
    is_query && dns_servers::of(case).any(is_its)
}

/// Whether a device that had the packet to send had no room for it.
fn is_of_queue(drop: &Drop) -> bool {
    [Dropper::Queue, Dropper::TunnelRing].into_iter().any(|it| told(drop, it).is_some())
}

/// Between which stages a packet for a peer was lost. The overlay device stands for two pairs: a
/// packet waits there for its neighbour before it is sent, and is encapsulated there afterwards.
fn pairs_outward(case: &Case<'_>, drop: &Drop) -> Vec<StagePair> {
    if drop.outer.is_some() || is_vxlan(drop) {
        return vec![StagePair::OverlayToWire, StagePair::WireToPeer];
    }
    match drop.interface.as_deref() {
        Some(name) if is(case.topology.overlay, name) => {
            vec![StagePair::PodToOverlay, StagePair::OverlayToWire]
        }
        _ => vec![StagePair::PodToOverlay],
    }
}

/// Between which stages a packet from a peer was lost.
fn pairs_inward(case: &Case<'_>, drop: &Drop) -> Vec<StagePair> {
    if drop.outer.is_some() || is_vxlan(drop) {
        return vec![StagePair::WireToOverlay];
    }
    match drop.interface.as_deref() {
        Some(name) if is(case.topology.overlay, name) || is(case.topology.bridge, name) => {
            vec![StagePair::OverlayToPod]
        }
        _ => vec![StagePair::WireToOverlay, StagePair::OverlayToPod],
    }
}

/// Whether the VXLAN driver dropped it, in its sending half or in its receiving one.
pub(super) fn is_vxlan(drop: &Drop) -> bool {
    drop.symbol.as_deref().is_some_and(|symbol| symbol.starts_with("vxlan_"))
}

fn is(link: Option<&Link>, name: &str) -> bool {
    link.is_some_and(|link| link.name == name)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::{
        diagnose,
        testing::{Pass, Plan, dropped},
    };
    use crate::{
        diagnose::Diagnosis,
        evidence::{Drop, DropFlow, DropPlace, Drops, Evidence},
        topology::nth_address,
    };

    const OVERLAY: &str = "flannel.1";

    fn drop(source: IpAddr, destination: IpAddr, interface: &str, symbol: &str) -> Drop {
        let drop = dropped();
        let flow = drop.flow.map(|flow| DropFlow { source, destination, ..flow });
        let (interface, symbol) = (Some(interface.to_owned()), Some(symbol.to_owned()));
        Drop { reason: None, flow, interface, symbol, ..drop }
    }

    fn judged(evidence: &mut Evidence, entries: Vec<Drop>) -> Diagnosis {
        evidence.drops = Some(Drops { entries, headers_read: true, ..Drops::default() });
        diagnose(evidence)
    }

    #[test]
    fn a_drop_belongs_to_the_finding_about_its_peer_and_to_no_other() {
        let plan = Plan::of(3, Pass::Tables);
        let mut evidence = plan.evidence();
        let hit = plan.hit_cidr();
        let other = plan.cidr(plan.peers().next().unwrap());
        let tables = evidence.tables.as_mut().unwrap();
        let gateway = hit.network();
        let entry = tables.neighbours.iter().find(|it| it.address == gateway).unwrap();
        let mac = entry.mac.unwrap();
        tables.fdb.retain(|it| it.mac != mac);
        let pod = nth_address(plan.own_cidr(), 9);
        let to = |cidr| nth_address(cidr, 5);
        let diagnosis = judged(
            &mut evidence,
            vec![
                drop(pod, to(hit), OVERLAY, "vxlan_xmit"),
                drop(pod, to(other), OVERLAY, "vxlan_xmit"),
                drop(pod, "192.0.2.1".parse().unwrap(), "cni0", "ip_error"),
            ],
        );
        let codes: Vec<&str> = diagnosis.findings.iter().map(|it| it.code).collect();
        assert_eq!(codes, ["fdb-entry-missing"]);
        let expected = ["fdb-entry-missing", "unexplained", "unexplained"];
        assert_eq!(diagnosis.drop_causes, expected);
    }

    #[test]
    fn a_drop_in_a_pod_is_not_the_tunnel_s() {
        let plan = Plan::of(2, Pass::Tables);
        let mut evidence = plan.evidence();
        evidence.tables.as_mut().unwrap().fdb.clear();
        let pod = nth_address(plan.own_cidr(), 9);
        let mut in_pod = drop(nth_address(plan.hit_cidr(), 5), pod, "eth0", "nft_do_chain");
        in_pod.place = DropPlace::Pod;
        let diagnosis = judged(&mut evidence, vec![in_pod]);
        assert!(!diagnosis.findings.is_empty());
        assert_eq!(diagnosis.drop_causes, ["unexplained"]);
    }
}
