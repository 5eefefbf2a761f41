//! What a filter takes, where the pod networks of the nodes are known.

use std::net::IpAddr;

use ipnet::IpNet;

use super::FlowFilter;
use crate::{
    diagnose::{Diagnosis, Finding, PeerVerdict, Subject, SubjectKind},
    evidence::{Drop, Evidence, Family, Flow, has_ports},
    headers::{Headers, Protocol},
};

/// EtherTypes of IPv4 and IPv6.
const IP: [u16; 2] = [0x0800, 0x86dd];

/// A filter, with the nodes by which it understands addresses.
#[derive(Debug)]
pub struct Chosen<'a> {
    filter: &'a FlowFilter,
    own: Vec<Place>,
    peers: Vec<Place>,
}

/// Pods of a node, and the address of the node.
#[derive(Debug, Clone, Copy)]
struct Place {
    cidr: IpNet,
    node: Option<IpAddr>,
}

/// The 5-tuple of a packet, with all addresses that its ends have.
struct Ends {
    sources: Vec<IpAddr>,
    destinations: Vec<IpAddr>,
    protocol: u8,
    /// Of both ends, and that of a service.
    ports: [u16; 3],
}

// === impl Chosen ===

impl<'a> Chosen<'a> {
    /// A filter on a node with these pod networks and peers.
    #[must_use]
    pub fn new(
        filter: &'a FlowFilter,
        node_ip: Option<IpAddr>,
        pod_cidrs: &[IpNet],
        peers: &[PeerVerdict],
    ) -> Self {
        let own = pod_cidrs.iter().map(|cidr| {
            let node = node_ip.filter(|ip| Family::of(*ip) == Family::of_net(*cidr));
            Place { cidr: *cidr, node }
        });
        let peers = peers.iter().map(|peer| Place { cidr: peer.cidr, node: peer.node_ip });
        Self { filter, own: own.collect(), peers: peers.collect() }
    }

    /// A filter on the node of a diagnosis.
    #[must_use]
    pub fn of(filter: &'a FlowFilter, diagnosis: &Diagnosis) -> Self {
        Self::new(filter, diagnosis.node_ip, &diagnosis.pod_cidrs, &diagnosis.peers)
    }

    /// Whether a flow is one of those that are meant.
    #[must_use]
    pub fn takes_flow(&self, flow: &Flow) -> bool {
        let service = flow.asked_as;
        let destinations =
            [Some(flow.destination), flow.translated_destination, service.map(|it| it.ip())];
        self.takes(&Ends {
            sources: self.addresses(flow.source, flow.outer_source),
            destinations: destinations
                .into_iter()
                .flatten()
                .flat_map(|end| self.addresses(end, None))
                .collect(),
            protocol: flow.protocol,
            ports: [
                flow.source_port,
                flow.destination_port,
                service.map_or(flow.destination_port, |it| it.port()),
            ],
        })
    }

    /// Whether dropped packets are of those that are meant; `None` when nobody knows whose packets
    /// they were.
    #[must_use]
    pub fn takes_drop(&self, drop: &Drop) -> Option<bool> {
        let Some(flow) = drop.flow else {
            return if IP.contains(&drop.ethertype) { None } else { Some(false) };
        };
        Some(self.takes(&Ends {
            sources: self.addresses(flow.source, drop.outer.map(|outer| outer.source)),
            destinations:
                self.addresses(flow.destination, drop.outer.map(|outer| outer.destination)),
            protocol: flow.protocol,
            ports: [flow.source_port, flow.destination_port, flow.destination_port],
        }))
    }

    /// Whether a packet is of those that are meant; one whose headers cannot be read is not.
    #[must_use]
    pub fn takes_packet(&self, headers: &Headers) -> bool {
        let outer = headers.outer.as_ref().map(|it| &it.layers);
        let Some(inner) = &headers.inner else { return false };
        let (Some(source), Some(destination), Some(Protocol::Ip(protocol))) =
            (inner.source, inner.destination, inner.protocol)
        else {
            return false;
        };
        self.takes(&Ends {
            sources: self.addresses(source, outer.and_then(|it| it.source)),
            destinations: self.addresses(destination, outer.and_then(|it| it.destination)),
            protocol,
            ports: [inner.source_port, inner.destination_port, inner.destination_port]
                .map(Option::unwrap_or_default),
        })
    }

    /// Packets of a node's drops of which nobody knows whose they were.
    #[must_use]
    pub fn unknown(&self, evidence: &Evidence) -> u64 {
        let drops = evidence.drops.iter().flat_map(|drops| &drops.entries);
        drops.filter(|it| self.takes_drop(it).is_none()).map(|it| it.packets).sum()
    }

    /// Whether a finding may be about the packets that are meant: it is left out only where it is
    /// about others for certain. What is wrong with the node concerns them all.
    #[must_use]
    pub fn concerns(&self, finding: &Finding) -> bool {
        match finding.subject.kind {
            SubjectKind::Peer => self.concerns_peer(&finding.subject),
            SubjectKind::Flow => self.concerns_pod(&finding.subject),
            // Who asks a DNS server, or for a VIP, is not said.
            SubjectKind::Interface
            | SubjectKind::Node
            | SubjectKind::DnsServer
            | SubjectKind::Vip => true,
        }
    }

    fn takes(&self, ends: &Ends) -> bool {
        let FlowFilter { peer, source, destination, port, protocol, .. } = self.filter;
        let any = |net: &Option<IpNet>, of: &[IpAddr]| {
            net.is_none_or(|net| of.iter().any(|address| net.contains(address)))
        };
        any(source, &ends.sources)
            && any(destination, &ends.destinations)
            && (any(peer, &ends.sources) || any(peer, &ends.destinations))
            && protocol.is_none_or(|protocol| protocol.is(ends.protocol))
            && port.is_none_or(|port| has_ports(ends.protocol) && ends.ports.contains(&port))
    }

    /// Packets between this node and a peer have one end here and the other there.
    fn concerns_peer(&self, subject: &Subject) -> bool {
        let FlowFilter { peer, source, destination, .. } = *self.filter;
        let family = subject.cidr.map(Family::of_net).or_else(|| subject.peer.map(Family::of));
        let differs = |net: IpNet| family.is_some_and(|family| family != Family::of_net(net));
        if self.filter.addresses().any(differs) {
            return false;
        }
        let there = self.nets_of(subject);
        let here: Vec<IpNet> = self.own.iter().flat_map(Place::nets).collect();
        let [from_here, from_there] = [&here, &there].map(|nets| self.may_be(source, nets));
        let [to_here, to_there] = [&here, &there].map(|nets| self.may_be(destination, nets));
        self.may_be(peer, &there) && ((from_here && to_there) || (from_there && to_here))
    }

    fn concerns_pod(&self, subject: &Subject) -> bool {
        let Some(pod) = subject.address else { return true };
        let FlowFilter { peer, source, destination, .. } = *self.filter;
        let nets = [IpNet::from(pod)];
        // Of the other end nothing is said.
        let is_an_end = self.may_be(source, &nets) || self.may_be(destination, &nets);
        is_an_end && peer.is_none_or(|peer| Family::of_net(peer) == Family::of(pod))
    }

    /// Whether what is given may lie in one of these networks. An address that is nobody's that is
    /// known here, such as a service's or that of a node behind an entry that is gone, may.
    fn may_be(&self, given: Option<IpNet>, nets: &[IpNet]) -> bool {
        let Some(given) = given else { return true };
        let lies_in = |net: &IpNet| given.contains(net) || net.contains(&given);
        let mut known = self.own.iter().chain(&self.peers).flat_map(Place::nets);
        nets.iter().any(lies_in) || !known.any(|net| lies_in(&net))
    }

    /// All networks of a peer that a finding is about.
    fn nets_of(&self, subject: &Subject) -> Vec<IpNet> {
        let is_it = |place: &&Place| Some(place.cidr) == subject.cidr;
        let known = self.peers.iter().filter(is_it).flat_map(Place::nets);
        subject.cidr.into_iter().chain(subject.peer.map(IpNet::from)).chain(known).collect()
    }

    /// The address of an end, that of the node where it is, and an outer one that was seen.
    fn addresses(&self, end: IpAddr, outer: Option<IpAddr>) -> Vec<IpAddr> {
        let places = self.own.iter().chain(&self.peers);
        let nodes = places.filter(|it| it.cidr.contains(&end)).filter_map(|it| it.node);
        [end].into_iter().chain(nodes).chain(outer).collect()
    }
}

// === impl Place ===

impl Place {
    fn nets(&self) -> impl Iterator<Item = IpNet> + use<> {
        [Some(self.cidr), self.node.map(IpNet::from)].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnose::{
            diagnose,
            testing::{Pass, Plan, dropped, tables},
        },
        evidence::{DropFlow, DropOuter},
        headers::{Layers, Outer},
        topology::nth_address,
    };

    /// A node of three whose FDB entries are all gone; its pods are 10.244.1.0/24, the peers'
    /// 10.244.0.0/24 and 10.244.2.0/24, the nodes 192.168.77.10 to .12.
    fn broken(pass: Pass) -> (Evidence, Diagnosis) {
        let mut evidence = Plan::of(3, pass).evidence();
        tables(&mut evidence).fdb.clear();
        let diagnosis = diagnose(&evidence);
        (evidence, diagnosis)
    }

    /// The CIDRs of the peers whose findings are told.
    fn told(pass: Pass, filter: &str) -> Vec<String> {
        let (_, diagnosis) = broken(pass);
        let filter = filter.parse().unwrap();
        let chosen = Chosen::of(&filter, &diagnosis);
        let told = diagnosis.findings.iter().filter(|it| chosen.concerns(it));
        told.map(|it| it.subject.key.clone()).collect()
    }

    fn takes(filter: &str, drop: &Drop) -> Option<bool> {
        let (_, diagnosis) = broken(Pass::PeersFile);
        let filter = filter.parse().unwrap();
        Chosen::of(&filter, &diagnosis).takes_drop(drop)
    }

    #[test]
    fn a_drop_is_taken_when_all_that_is_given_is_true_of_it() {
        // 10.244.1.9:40000 to 10.244.2.5:53 (udp)
        for filter in [
            "source=10.244.1.9 destination=10.244.2.5 port=53 protocol=udp",
            "source=10.244.1.0/24",
            "destination=10.244.0.0/16 protocol=17",
            "port=40000",
            "peer=10.244.2.5",
            "peer=10.244.1.9",
        ] {
            assert_eq!(takes(filter, &dropped()), Some(true), "{filter}");
        }
        for filter in [
            "source=10.244.2.5",
            "destination=10.244.1.9",
            "source=10.244.1.9 port=54",
            "protocol=tcp",
            "protocol=icmp",
            "peer=10.244.0.0/24",
            "source=fd00::1",
        ] {
            assert_eq!(takes(filter, &dropped()), Some(false), "{filter}");
        }
    }

    #[test]
    fn the_address_of_a_node_means_the_packets_of_its_pods() {
        for filter in ["source=192.168.77.11", "peer=192.168.77.12", "destination=192.168.77.12/31"]
        {
            assert_eq!(takes(filter, &dropped()), Some(true), "{filter}");
        }
        assert_eq!(takes("destination=192.168.77.10", &dropped()), Some(false));
        let outer = DropOuter {
            source: "192.0.2.1".parse().unwrap(),
            destination: "192.0.2.2".parse().unwrap(),
        };
        let drop = Drop { outer: Some(outer), ..dropped() };
        assert_eq!(takes("source=192.0.2.1 port=53", &drop), Some(true), "as it was seen");
        assert_eq!(takes("source=192.0.2.2", &drop), Some(false));
    }

    #[test]
    fn the_numbers_of_icmp_are_no_ports() {
        let flow = dropped().flow.map(|flow| DropFlow { protocol: 1, source_port: 8, ..flow });
        let ping = Drop { flow, ..dropped() };
        assert_eq!(takes("protocol=icmp", &ping), Some(true));
        assert_eq!(takes("port=8", &ping), Some(false));
        assert_eq!(takes("port=53", &ping), Some(false));
    }

    #[test]
    fn whose_packets_were_dropped_may_be_unknown() {
        let unknown = Drop { flow: None, ..dropped() };
        assert_eq!(takes("port=53", &unknown), None);
        let arp = Drop { ethertype: 0x0806, ..unknown };
        assert_eq!(takes("port=53", &arp), Some(false));
    }

    #[test]
    fn a_packet_is_taken_by_its_own_headers_and_by_the_tunnels() {
        let (_, diagnosis) = broken(Pass::PeersFile);
        let takes = |filter: &str, headers: &Headers| {
            Chosen::of(&filter.parse().unwrap(), &diagnosis).takes_packet(headers)
        };
        let layers = |source: &str, destination: &str, protocol| Layers {
            source: source.parse().ok(),
            destination: destination.parse().ok(),
            protocol: Some(protocol),
            source_port: Some(40_000),
            destination_port: Some(53),
            ..Layers::default()
        };
        let udp = Protocol::Ip(17);
        let layers_out = layers("192.0.2.1", "192.0.2.2", udp);
        let headers = Headers {
            outer: Some(Outer { layers: layers_out, vni: 1 }),
            inner: Some(layers("10.244.1.9", "10.244.2.5", udp)),
        };
        for filter in ["source=10.244.1.9 port=53", "source=192.0.2.1", "peer=192.168.77.12"] {
            assert!(takes(filter, &headers), "{filter}");
        }
        for filter in ["source=192.0.2.2", "protocol=tcp", "port=8472"] {
            assert!(!takes(filter, &headers), "{filter}");
        }
        let arp =
            Headers { outer: None, inner: Some(layers("10.244.1.9", "10.244.1.1", Protocol::Arp)) };
        assert!(!takes("source=10.244.1.9", &arp));
        assert!(!takes("port=53", &Headers::default()), "nobody knows whose it is");
    }

    #[test]
    fn flows_are_taken_by_both_ends() {
        let (evidence, diagnosis) = broken(Pass::PeersFile);
        let hit = Plan::of(3, Pass::PeersFile).hit_cidr();
        let filter = format!("peer={hit}").parse().unwrap();
        let chosen = Chosen::of(&filter, &diagnosis);
        let flows = &evidence.traffic.as_ref().unwrap().flows;
        let is_of_hit =
            |flow: &&Flow| hit.contains(&flow.source) || hit.contains(&flow.destination);
        let expected = flows.iter().filter(is_of_hit).count();
        let taken = flows.iter().filter(|flow| chosen.takes_flow(flow));
        assert!(taken.clone().all(|flow| is_of_hit(&flow)));
        assert_eq!(taken.count(), expected);
        assert!(expected > 0 && expected < flows.len());
        // A service's address, and where its packets go.
        let pod = nth_address(hit, 5);
        let mut flow = flows.iter().find(|flow| !is_of_hit(flow)).unwrap().clone();
        assert!(!chosen.takes_flow(&flow));
        flow.translated_destination = Some(pod);
        assert!(chosen.takes_flow(&flow));
        // The same of one that the stages know by the pod's address.
        let filter = "destination=10.96.0.10 port=53".parse().unwrap();
        let chosen = Chosen::of(&filter, &diagnosis);
        assert!(!chosen.takes_flow(&flow));
        flow.asked_as = Some("10.96.0.10:53".parse().unwrap());
        assert!(chosen.takes_flow(&flow));
    }

    #[test]
    fn a_finding_of_another_peer_is_left_out() {
        let both = ["10.244.0.0/24", "10.244.2.0/24"];
        for filter in [
            "port=53",
            "protocol=tcp",
            "source=10.244.1.9",
            "destination=10.244.1.0/24",
            "peer=10.244.0.0/16",
            "source=192.168.77.11",
            "destination=10.96.0.10",
        ] {
            assert_eq!(told(Pass::PeersFile, filter), both, "{filter}");
        }
        for filter in [
            "destination=10.244.2.5",
            "source=10.244.2.0/24",
            "peer=192.168.77.12",
            "source=10.244.1.9 destination=192.168.77.12",
        ] {
            assert_eq!(told(Pass::PeersFile, filter), both[1..], "{filter}");
        }
        let none: [&str; 0] = [];
        for filter in
            ["source=10.244.0.5 destination=10.244.2.5", "source=fd00::7", "peer=10.244.1.0/24"]
        {
            assert_eq!(told(Pass::PeersFile, filter), none, "{filter}");
        }
    }

    #[test]
    fn an_address_that_nobody_here_has_may_be_behind_any_peer() {
        for filter in ["peer=192.0.2.9", "source=10.244.1.9 destination=192.0.2.9"] {
            assert_eq!(told(Pass::Tables, filter).len(), 2, "{filter}");
        }
        assert_eq!(told(Pass::Tables, "source=192.0.2.9 destination=10.244.2.5").len(), 1);
    }

    #[test]
    fn what_is_wrong_with_the_node_concerns_everybody() {
        let mut evidence = Plan::of(3, Pass::Tables).evidence();
        for link in &mut tables(&mut evidence).links {
            link.up &= link.vxlan.is_none();
        }
        let diagnosis = diagnose(&evidence);
        let filter = "peer=10.244.2.0/24 port=53".parse().unwrap();
        let chosen = Chosen::of(&filter, &diagnosis);
        assert_eq!(diagnosis.findings.len(), 1, "{:#?}", diagnosis.findings);
        assert!(chosen.concerns(&diagnosis.findings[0]));
    }
}
