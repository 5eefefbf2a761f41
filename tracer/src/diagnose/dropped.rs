//! What the kernel dropped, in the words of rules: what dropped it, and on which way it was.

use std::{cmp::Reverse, collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use super::{case::Case, sighted::UDP};
use crate::{
    evidence::{Drop, DropFlow, DropPlace, Route, RouteKind},
    topology::Peer,
};

/// Fewer packets prove nothing.
pub(super) const ENOUGH: u64 = 3;
/// How many places of drops are named.
const NAMED: usize = 3;

/// What drops packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dropper {
    /// A packet filter: iptables or nftables, in any table.
    Firewall,
    /// The reverse-path filter.
    ReversePath,
    /// A program of tc or XDP.
    Program,
    /// The queue of a device.
    Queue,
    /// A tunnel device of user space whose program does not read.
    TunnelRing,
    /// The checksum of an IPv4 header.
    IpChecksum,
    /// The checksum of a UDP datagram.
    UdpChecksum,
    /// The next device's MTU.
    TooBig,
    /// The socket that a datagram is for, which has no room.
    Socket,
    /// The kernel of whom an Ethernet frame reaches that is for another MAC.
    OtherMac,
}

/// How the kernel tells what dropped a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Told {
    /// By the function, which does nothing else where packets of hosts are freed.
    Function,
    /// By the function, which drops for other reasons too: a counter has to say the same.
    Perhaps,
    /// By its reason.
    Reason,
}

/// On which way a packet was dropped, in the node's own network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// Encapsulated, to the node of a peer.
    TunnelOut(IpNet),
    /// Encapsulated, from the node of a peer.
    TunnelIn(IpNet),
    /// Plain, for a pod of a peer; also while the overlay device has it.
    Out(IpNet),
    /// Plain, from a pod of a peer.
    In(IpNet),
    /// From a pod of this node to an address of the node.
    ToNode,
    /// From a pod of this node to an address that is none of the pod network's, nor of the node's.
    Outside,
}

/// What was dropped of one kind.
#[derive(Debug, Clone)]
pub(super) struct Dropped<'a> {
    /// Segments in the window.
    pub(super) packets: u64,
    /// Segments until the read in the middle.
    early: u64,
    /// The entries, most packets first.
    pub(super) drops: Vec<&'a Drop>,
}

// === impl Dropper ===

impl Dropper {
    /// Reasons by the kernel's BTF, without `SKB_DROP_REASON_` (include/net/dropreason-core.h,
    /// Linux 6.18); newer kernels cut `QDISC_DROP` into several.
    fn has_reason(self, reason: &str) -> bool {
        match self {
            Self::Firewall => reason == "NETFILTER_DROP",
            Self::ReversePath => reason == "IP_RPFILTER",
            Self::Program => matches!(reason, "TC_INGRESS" | "TC_EGRESS" | "XDP"),
            Self::Queue => reason.starts_with("QDISC_") || reason.starts_with("FQ_"),
            Self::TunnelRing => reason == "FULL_RING",
            Self::IpChecksum => reason == "IP_CSUM",
            Self::UdpChecksum => reason == "UDP_CSUM",
            Self::TooBig => reason == "PKT_TOO_BIG",
            Self::Socket => reason == "SOCKET_RCVBUFF",
            Self::OtherMac => reason == "OTHERHOST",
        }
    }

    /// What a function says where there is no reason (Linux 5.10 to 6.1).
    fn by_function(self, symbol: &str) -> Option<Told> {
        match (self, symbol) {
            (Self::Firewall, "nf_hook_slow" | "nft_do_chain")
            | (Self::TunnelRing, "tun_net_xmit") => Some(Told::Function),
            (Self::ReversePath, "ip_rcv_finish_core")
            | (Self::Program, "__netif_receive_skb_core" | "__dev_queue_xmit")
            | (Self::Queue, "__dev_queue_xmit" | "kfree_skb_list")
            | (Self::IpChecksum, "ip_rcv_core")
            | (
                Self::UdpChecksum,
                "__udp4_lib_rcv"
                | "__udp6_lib_rcv"
                | "udp_rcv"
                | "udp_queue_rcv_one_skb"
                | "udpv6_queue_rcv_one_skb",
            )
            | (Self::TooBig, "ip_forward" | "ip6_forward")
            | (Self::Socket, "udp_queue_rcv_one_skb" | "udpv6_queue_rcv_one_skb")
            | (Self::OtherMac, "ip_rcv_core" | "ip6_rcv_core") => Some(Told::Perhaps),
            _ => None,
        }
    }
}

// === impl Dropped ===

impl<'a> Dropped<'a> {
    /// These drops together.
    pub(super) fn of(drops: Vec<&'a Drop>) -> Self {
        let sum = |of: fn(&Drop) -> u64| drops.iter().map(|drop| of(drop)).sum();
        Self { packets: sum(|drop| drop.packets), early: sum(|drop| drop.early), drops }
    }

    /// Enough packets, and some in both halves of the window: it holds on.
    pub(super) const fn lasts(&self) -> bool {
        self.packets >= ENOUGH && self.early > 0 && self.packets > self.early
    }

    /// What dropped them and where, in the kernel's words: most packets first.
    pub(super) fn by(&self) -> String {
        let mut places = BTreeMap::<String, u64>::new();
        for drop in &self.drops {
            *places.entry(place(drop)).or_default() += drop.packets;
        }
        let mut places: Vec<(String, u64)> = places.into_iter().collect();
        places.sort_by_key(|(_, packets)| Reverse(*packets));
        let more = if places.len() > NAMED { " and elsewhere" } else { "" };
        let named: Vec<String> = places.into_iter().take(NAMED).map(|(place, _)| place).collect();
        named.join(", ") + more
    }
}

fn place(drop: &Drop) -> String {
    let reason = drop.reason.as_deref().filter(|reason| *reason != "NOT_SPECIFIED");
    let function = drop.symbol.as_deref().unwrap_or("an unnamed function");
    let device = drop.interface.as_deref().map(|device| format!(" at {device}"));
    format!("{} in {function}{}", reason.unwrap_or("dropped"), device.unwrap_or_default())
}

/// Whether so many dropped packets are enough for what the stages miss: both are read one after the
/// other, so that a few may be in one number and not in the other.
pub(super) const fn covers(dropped: u64, missed: u64) -> bool {
    missed <= dropped.saturating_add(dropped / 10).saturating_add(ENOUGH)
}

/// Whether it was `dropper`, and how the kernel tells.
pub(super) fn told(drop: &Drop, dropper: Dropper) -> Option<Told> {
    match drop.reason.as_deref() {
        None | Some("NOT_SPECIFIED") => dropper.by_function(drop.symbol.as_deref()?),
        Some(reason) => dropper.has_reason(reason).then_some(Told::Reason),
    }
}

/// Everything that was dropped.
pub(super) fn drops<'a>(case: &Case<'a>) -> impl Iterator<Item = &'a Drop> {
    case.evidence.drops.iter().flat_map(|drops| &drops.entries)
}

/// What was dropped, by what `name` makes of it, as far as it holds on.
pub(super) fn lasting<'a, K: Ord>(
    case: &Case<'a>,
    name: impl Fn(&'a Drop) -> Option<K>,
) -> BTreeMap<K, Dropped<'a>> {
    let mut found = BTreeMap::<K, Dropped<'a>>::new();
    for (name, drop) in drops(case).filter_map(|it| Some((name(it)?, it))) {
        let none = || Dropped { packets: 0, early: 0, drops: Vec::new() };
        let dropped = found.entry(name).or_insert_with(none);
        dropped.packets += drop.packets;
        dropped.early += drop.early;
        dropped.drops.push(drop);
    }
    found.retain(|_, dropped| dropped.lasts());
    found
}

/// On which way a packet was, if its headers were read and it is of this case's IP version.
pub(super) fn way(case: &Case<'_>, drop: &Drop) -> Option<Way> {
    let flow = drop.flow.filter(|_| drop.place == DropPlace::Node)?;
    if let Some(outer) = drop.outer {
        return tunnel_way(case, outer.source, outer.destination, Some(flow));
    }
    if is_carrier(case, &flow) {
        return tunnel_way(case, flow.source, flow.destination, None);
    }
    plain_way(case, &flow)
}

/// Whether it is a tunnel packet whose content was not read.
fn is_carrier(case: &Case<'_>, flow: &DropFlow) -> bool {
    let port = case.topology.overlay.and_then(|link| Some(link.vxlan.as_ref()?.port));
    flow.protocol == UDP && port == Some(flow.destination_port)
}

fn tunnel_way(
    case: &Case<'_>,
    source: IpAddr,
    destination: IpAddr,
    inner: Option<DropFlow>,
) -> Option<Way> {
    let tables = case.topology.tables?;
    let at = |node| move |peer: &&Peer<'_>| peer.node_ip == Some(node);
    let mut peers = case.topology.peers.iter();
    if tables.is_local(source) {
        let inside = inner.and_then(|flow| case.topology.peer_of(flow.destination));
        return Some(Way::TunnelOut(inside.or_else(|| peers.find(at(destination)))?.cidr));
    }
    let inside = inner.and_then(|flow| case.topology.peer_of(flow.source));
    let from = inside.or_else(|| peers.find(at(source)));
    Some(Way::TunnelIn(from.filter(|_| tables.is_local(destination))?.cidr))
}

fn plain_way(case: &Case<'_>, flow: &DropFlow) -> Option<Way> {
    let topology = &case.topology;
    if let Some(peer) = topology.peer_of(flow.destination) {
        return Some(Way::Out(peer.cidr));
    }
    if let Some(peer) = topology.peer_of(flow.source) {
        return Some(Way::In(peer.cidr));
    }
    let is_in_network = topology.cluster_cidrs.iter().any(|it| it.contains(&flow.destination));
    let is_local = topology.tables.is_some_and(|tables| tables.is_local(flow.destination));
    let is_broadcast = |route: &Route| {
        route.kind == RouteKind::Broadcast && route.destination.contains(&flow.destination)
    };
    if topology.tables.is_some_and(|tables| tables.routes.iter().any(is_broadcast)) {
        return None;
    }
    match (topology.is_own(flow.source), is_local) {
        (true, true) => Some(Way::ToNode),
        (true, false) if !is_in_network && !topology.is_own(flow.destination) => Some(Way::Outside),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{Pass, Plan, dropped, refusing},
        *,
    };
    use crate::{evidence::DropOuter, topology::nth_address};

    fn with(reason: Option<&str>, symbol: &str) -> Drop {
        let reason = reason.map(str::to_owned);
        Drop { reason, symbol: Some(symbol.to_owned()), ..dropped() }
    }

    #[test]
    fn a_reason_goes_before_the_function_and_a_function_may_only_hint() {
        use Dropper::{Firewall, IpChecksum, Queue, ReversePath};
        for (reason, symbol, dropper, expected) in [
            (Some("NETFILTER_DROP"), "nft_do_chain", Firewall, Some(Told::Reason)),
            (Some("NOT_SPECIFIED"), "nf_hook_slow", Firewall, Some(Told::Function)),
            (None, "nf_hook_slow", Firewall, Some(Told::Function)),
            (None, "ip_rcv_finish_core", ReversePath, Some(Told::Perhaps)),
            (Some("IP_RPFILTER"), "ip_rcv_finish_core", ReversePath, Some(Told::Reason)),
            (Some("IP_NOPROTO"), "nf_hook_slow", Firewall, None),
            (Some("QDISC_OVERLIMIT"), "tbf_enqueue", Queue, Some(Told::Reason)),
            (None, "tcp_v4_rcv", IpChecksum, None),
        ] {
            assert_eq!(told(&with(reason, symbol), dropper), expected, "{reason:?} {symbol}");
        }
    }

    #[test]
    fn the_way_is_that_of_the_outer_packet_where_there_is_one() {
        let plan = Plan::of(3, Pass::Tables);
        let mut evidence = plan.evidence();
        let broadcast: IpAddr = "192.168.77.255".parse().unwrap();
        let route = refusing(IpNet::from(broadcast), RouteKind::Broadcast);
        evidence.tables.as_mut().unwrap().routes.push(route);
        let cases = Case::all_of(&evidence);
        let case = &cases[0];
        let cidr = plan.hit_cidr();
        let pod = nth_address(plan.own_cidr(), 9);
        let (theirs, gateway) = (nth_address(cidr, 5), nth_address(plan.own_cidr(), 1));
        let own = case.node_ip().unwrap();
        let node = case.topology.peer(cidr).unwrap().node_ip.unwrap();
        let outside = "192.0.2.7".parse().unwrap();
        let way_of = |(source, destination), outer: Option<(IpAddr, IpAddr)>| {
            let drop = dropped();
            let flow = drop.flow.map(|flow| DropFlow { source, destination, ..flow });
            let outer = outer.map(|(source, destination)| DropOuter { source, destination });
            way(case, &Drop { flow, outer, ..drop })
        };
        assert_eq!(way_of((pod, theirs), None), Some(Way::Out(cidr)));
        assert_eq!(way_of((theirs, pod), None), Some(Way::In(cidr)));
        assert_eq!(way_of((pod, theirs), Some((own, node))), Some(Way::TunnelOut(cidr)));
        assert_eq!(way_of((theirs, pod), Some((node, own))), Some(Way::TunnelIn(cidr)));
        assert_eq!(way_of((pod, gateway), None), Some(Way::ToNode));
        assert_eq!(way_of((pod, outside), None), Some(Way::Outside));
        assert_eq!(way_of((outside, pod), None), None);
        assert_eq!(way_of((pod, broadcast), None), None);
    }

    #[test]
    fn only_what_lasts_and_is_enough_is_told() {
        let plan = Plan::of(2, Pass::Tables);
        for (packets, early, expected) in [(3, 1, 1), (2, 1, 0), (9, 0, 0), (9, 9, 0)] {
            let mut evidence = plan.evidence();
            let entries = vec![Drop { packets, early, ..dropped() }];
            evidence.drops = Some(crate::evidence::Drops { entries, ..Default::default() });
            let cases = Case::all_of(&evidence);
            assert_eq!(lasting(&cases[0], |drop| drop.flow).len(), expected, "{packets} {early}");
        }
    }
}
