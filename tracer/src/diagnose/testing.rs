//! Evidence of a healthy node, and the faults applied to it, as plain data.
//!
//! ```text
//!  pods ── veth1.. ── BRIDGE .1 ── OVERLAY .0/32 ── UPLINK 192.168.LAN.(10+own) ── gateway .1
//!  pod CIDR of node n: 10.NETWORK.n.0/LENGTH, its node address 192.168.LAN.(10+n)
//! ```

mod drops;
mod flows;
mod healthy;
mod kernel;
mod twin;

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use proptest::prelude::*;

use super::{Diagnosis, diagnose};
use crate::{
    evidence::{
        Address, Count, DontFragment, Evidence, FdbEntry, Flannel, FlannelProcess, Flow,
        Forwarding, Intent, LargePackets, Link, Losses, MacAddress, ModuleState, Neighbour,
        NeighbourState, NextHop, Node, PeerIntent, PeerTraffic, Platform, Roles, Route, RouteKind,
        Rule, SCHEMA, Scope, StageCounts, StageTotals, SubnetEnv, Tables, Traffic, Vxlan, Window,
    },
    topology::{TABLE_LOCAL, TABLE_MAIN, Topologies, Topology, nth_address},
};

pub(crate) use self::{
    drops::{dropped, dropped_to},
    flows::flow_of,
    healthy::{assert_healthy, finds_nothing},
    kernel::observe,
    twin::{dual, twin, twin_words},
};

/// The first topology of a node, the only one where pods have addresses of one IP version.
pub(crate) fn topology(evidence: &Evidence) -> Topology<'_> {
    Topologies::of(evidence).into_iter().next().unwrap()
}

/// The sign of a network policy: kube-router's chain for one.
pub(crate) const POLICY: &str = "chain KUBE-NWPLCY-XAEIGWMKXRKV6XZ6";

pub(crate) const LO: u32 = 1;
pub(crate) const UPLINK: u32 = 2;
pub(crate) const OVERLAY: u32 = 7;
pub(crate) const BRIDGE: u32 = 8;
pub(crate) const VETH: u32 = 20;

/// How much flannel's intent is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    Tables,
    SubnetEnv,
    PeersFile,
}

pub(crate) const PASSES: [Pass; 3] = [Pass::Tables, Pass::SubnetEnv, Pass::PeersFile];

/// The address plan of a cluster, seen from node `own`.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) nodes: u8,
    pub(crate) own: u8,
    pub(crate) network: u8,
    pub(crate) length: u8,
    pub(crate) lan: u8,
    pub(crate) overlay: String,
    pub(crate) bridge: String,
    pub(crate) pods: u8,
    pub(crate) pass: Pass,
    pub(crate) seconds: f64,
}

impl Plan {
    pub(crate) fn of(nodes: u8, pass: Pass) -> Self {
        Self {
            nodes,
            own: u8::from(nodes > 1),
            network: 244,
            length: 24,
            lan: 77,
            overlay: "flannel.1".to_owned(),
            bridge: "cni0".to_owned(),
            pods: 2,
            pass,
            seconds: 5.0,
        }
    }

    pub(crate) fn strategy() -> impl Strategy<Value = Self> {
        (
            (1..6_u8, 0..250_u8, prop_oneof![Just(24_u8), Just(25), Just(26)], 2..250_u8),
            prop_oneof![Just("flannel.1"), Just("flannel.4096"), Just("vx0")],
            prop_oneof![Just("cni0"), Just("cbr0")],
            (0..4_u8, 0..3_usize, prop_oneof![Just(0.0), Just(5.0)], 0..6_u8),
        )
            .prop_map(|((nodes, network, length, lan), overlay, bridge, rest)| {
                let (pods, pass, seconds, own) = rest;
                // Nothing but its name tells flannel's device on a lone node without pods.
                let alone = nodes == 1 && pods == 0;
                let overlay = if alone { "flannel.1" } else { overlay };
                Self {
                    nodes,
                    own: own % nodes,
                    network,
                    length,
                    lan,
                    overlay: overlay.to_owned(),
                    bridge: bridge.to_owned(),
                    pods,
                    pass: PASSES[pass],
                    seconds,
                }
            })
    }

    pub(crate) fn cidr(&self, node: u8) -> IpNet {
        let address = Ipv4Addr::new(10, self.network, node, 0);
        IpNet::V4(Ipv4Net::new(address, self.length).unwrap())
    }

    pub(crate) fn own_cidr(&self) -> IpNet {
        self.cidr(self.own)
    }

    pub(crate) fn node_ip(&self, node: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 168, self.lan, 10 + node))
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = u8> + use<> {
        let own = self.own;
        (0..self.nodes).filter(move |node| *node != own)
    }

    /// The peer that faults hit.
    pub(crate) fn hit(&self) -> u8 {
        self.peers().last().unwrap()
    }

    pub(crate) fn hit_cidr(&self) -> IpNet {
        self.cidr(self.hit())
    }

    pub(crate) fn gateway(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 168, self.lan, 1))
    }

    /// The evidence of the healthy node.
    pub(crate) fn evidence(&self) -> Evidence {
        let mut evidence = Evidence {
            schema: SCHEMA.to_owned(),
            node: Node {
                name: format!("n{}", self.own),
                kernel: "6.12.48".to_owned(),
                platform: Platform::Kubeadm,
                vxlan: ModuleState::Present,
            },
            window: Window {
                start: "2026-01-01T12:00:00Z".parse().unwrap(),
                seconds: self.seconds,
            },
            intent: self.intent(),
            roles: Roles::default(),
            tables: Some(self.tables()),
            traffic: (self.seconds > 0.0).then(|| self.traffic()),
            drops: None,
            vips: None,
            dns: None,
            probes: None,
            statistics: None,
            hooks: Vec::new(),
            capabilities: Vec::new(),
            flannel: Flannel {
                process: FlannelProcess::Flanneld,
                pid: Some(812),
                since: None,
                memory: None,
                last_kill: None,
            },
            unseen: Vec::new(),
            tables_after: None,
            tables_only: self.seconds == 0.0,
        };
        observe(&mut evidence);
        evidence
    }

    fn intent(&self) -> Intent {
        let subnet_env = (self.pass != Pass::Tables).then(|| SubnetEnv {
            path: "/run/flannel/subnet.env".into(),
            networks: vec![IpNet::new([10, self.network, 0, 0].into(), 16).unwrap()],
            subnets: vec![IpNet::new(nth_address(self.own_cidr(), 1), self.length).unwrap()],
            mtu: Some(1450),
            ip_masq: Some(true),
        });
        let peers = if self.pass == Pass::PeersFile {
            self.peers().map(|node| self.peer_intent(node)).collect()
        } else {
            Vec::new()
        };
        Intent {
            subnet_env,
            peers,
            flannel_netfilter: vec!["chain FLANNEL-FWD".to_owned()],
            ..Intent::default()
        }
    }

    pub(crate) fn peer_intent(&self, node: u8) -> PeerIntent {
        PeerIntent {
            pod_cidr: self.cidr(node),
            node_ip: self.node_ip(node),
            vtep_mac: Some(mac(node)),
            name: Some(format!("n{node}")),
            source: format!("peers file peers.txt line {}", node + 1),
        }
    }

    fn tables(&self) -> Tables {
        let mut tables = Tables {
            links: self.links(),
            addresses: self.addresses(),
            forwarding: self.forwarding(),
            rules: vec![rule(0, TABLE_LOCAL), rule(32766, TABLE_MAIN), rule(32767, 253)],
            routes: self.routes(),
            ..Tables::default()
        };
        tables.neighbours.push(neighbour(UPLINK, self.gateway(), uplink_mac(254)));
        tables.neighbours.push(Neighbour {
            state: NeighbourState::NoArp,
            ..neighbour(OVERLAY, "ff02::16".parse().unwrap(), MacAddress([51, 51, 0, 0, 0, 22]))
        });
        for node in self.peers() {
            let gateway = self.cidr(node).network();
            tables.neighbours.push(neighbour(OVERLAY, gateway, mac(node)));
            tables.fdb.push(fdb(mac(node), self.node_ip(node)));
        }
        if self.pods == 0 {
            tables.links.retain(|link| link.index != BRIDGE);
            tables.addresses.retain(|address| address.ifindex != BRIDGE);
            tables
                .routes
                .retain(|route| route.next_hops.iter().all(|hop| hop.ifindex != Some(BRIDGE)));
        }
        tables
    }

    fn links(&self) -> Vec<Link> {
        let mut overlay = link(OVERLAY, &self.overlay, Some("vxlan"));
        overlay.mtu = 1450;
        // Of which its link-local address is made.
        overlay.mac = Some(MacAddress([0x1e, 0x2d, 0x3e, 0x4f, 0x50, 0x61]));
        overlay.vxlan = Some(Vxlan {
            vni: 1,
            port: 8472,
            local: Some(self.node_ip(self.own)),
            link: Some(UPLINK),
            learning: false,
            external: false,
            gbp: false,
            df: DontFragment::Unset,
        });
        let mut links = vec![link(LO, "lo", None), link(UPLINK, "eth0", None), overlay];
        links.push(Link { mtu: 1450, ..link(BRIDGE, &self.bridge, Some("bridge")) });
        links.extend((0..self.pods).map(|pod| {
            let mut veth = link(VETH + u32::from(pod), &format!("veth{pod}"), Some("veth"));
            (veth.master, veth.mtu) = (Some(BRIDGE), 1450);
            veth.lower_elsewhere = true;
            veth
        }));
        links
    }

    fn forwarding(&self) -> Vec<Forwarding> {
        let devices = self.links().into_iter().map(|link| Scope::Device(link.index));
        let on = |scope| Forwarding { family: 4, scope, enabled: true };
        devices.chain([Scope::All]).map(on).collect()
    }

    fn addresses(&self) -> Vec<Address> {
        let own = self.own_cidr();
        vec![
            address(LO, "127.0.0.1", 8),
            address(UPLINK, &self.node_ip(self.own).to_string(), 24),
            address(OVERLAY, &own.network().to_string(), 32),
            address(OVERLAY, "fe80::1c2d:3eff:fe4f:5061", 64),
            address(BRIDGE, &nth_address(own, 1).to_string(), self.length),
        ]
    }

    fn routes(&self) -> Vec<Route> {
        let lan = format!("192.168.{}.0/24", self.lan);
        let mut routes = vec![
            via("0.0.0.0/0".parse().unwrap(), Some(self.gateway()), UPLINK),
            via(lan.parse().unwrap(), None, UPLINK),
            via(self.own_cidr(), None, BRIDGE),
            via("fe80::/64".parse().unwrap(), None, OVERLAY),
        ];
        routes.push(Route {
            table: TABLE_LOCAL,
            kind: RouteKind::Local,
            ..via(IpNet::new(self.own_cidr().network(), 32).unwrap(), None, OVERLAY)
        });
        routes.extend(self.peers().map(|node| {
            let cidr = self.cidr(node);
            via(cidr, Some(cidr.network()), OVERLAY)
        }));
        routes
    }

    fn traffic(&self) -> Traffic {
        let mut traffic = Traffic::default();
        if self.pods == 0 {
            return traffic;
        }
        for node in self.peers() {
            traffic.peers.push(PeerTraffic {
                cidr: self.cidr(node),
                packets: all_stages(40),
                early: all_stages(20),
                large: Some(LargePackets { wire_out: 12, wire_out_early: 6, wire_in: 12 }),
                leaked: 0,
                leaked_early: 0,
                lost: Losses::default(),
                lost_early: Losses::default(),
                asking_out: 30,
                answered: Some(30),
                addresses_silent: 0,
                addresses_asked: 2,
                undelivered: Vec::new(),
                outer_source: Some(self.node_ip(node)),
                inner_source_mac: Some(mac(node)),
                outer_source_mac: Some(uplink_mac(node)),
            });
            traffic.flows.push(self.flow(node, true));
            traffic.flows.push(self.flow(node, false));
        }
        let total = Count { packets: 40 * u64::from(self.nodes - 1), bytes: 4000 };
        traffic.stages = StageTotals {
            pod_out: total,
            overlay_out: total,
            wire_out: total,
            wire_in: total,
            overlay_in: total,
            pod_in: total,
            ..StageTotals::default()
        };
        traffic
    }

    fn flow(&self, node: u8, outward: bool) -> Flow {
        let (ours, theirs) = (nth_address(self.own_cidr(), 9), nth_address(self.cidr(node), 5));
        let packets = StageCounts {
            pod_out: if outward { 40 } else { 0 },
            overlay_out: if outward { 40 } else { 0 },
            wire_out: if outward { 40 } else { 0 },
            wire_in: if outward { 0 } else { 40 },
            overlay_in: if outward { 0 } else { 40 },
            pod_in: if outward { 0 } else { 40 },
        };
        Flow {
            source: if outward { ours } else { theirs },
            destination: if outward { theirs } else { ours },
            protocol: 6,
            source_port: if outward { 40001 } else { 80 },
            destination_port: if outward { 80 } else { 40001 },
            packets,
            leaked: 0,
            born_in_window: false,
            outer_source: (!outward).then(|| self.node_ip(node)),
            translated_destination: None,
            translated_port: None,
            asked_as: None,
        }
    }
}

/// Judges evidence whose tables a fault has changed, where IPv6 would be told otherwise.
pub(crate) fn judge_ipv4(evidence: &mut Evidence) -> Diagnosis {
    observe(evidence);
    diagnose(evidence)
}

/// Judges evidence whose tables a fault has changed; its IPv6 twin must be told the same.
pub(crate) fn judge(evidence: &mut Evidence) -> Diagnosis {
    let diagnosis = judge_ipv4(evidence);
    if let Some(twin) = twin(evidence) {
        let expected: Vec<String> = told(&diagnosis).iter().map(|it| twin_words(it)).collect();
        assert_eq!(told(&diagnose(&twin)), expected, "IPv6 instead of IPv4: {twin:#?}");
    }
    diagnosis
}

/// `code subject` of every finding.
pub(crate) fn told(diagnosis: &Diagnosis) -> Vec<String> {
    diagnosis.findings.iter().map(|it| format!("{} {}", it.code, it.subject.key)).collect()
}

pub(crate) fn tables(evidence: &mut Evidence) -> &mut Tables {
    evidence.tables.as_mut().unwrap()
}

pub(crate) fn peer_traffic(evidence: &mut Evidence, cidr: IpNet) -> Option<&mut PeerTraffic> {
    evidence.traffic.as_mut()?.peers.iter_mut().find(|peer| peer.cidr == cidr)
}

pub(crate) fn mac(node: u8) -> MacAddress {
    MacAddress([0x0a, 0, 0, 0, 7, node])
}

/// The MAC of a node's uplink.
pub(crate) fn uplink_mac(node: u8) -> MacAddress {
    MacAddress([2, 9, 9, 9, 9, node])
}

pub(crate) fn all_stages(packets: u64) -> StageCounts {
    StageCounts {
        pod_out: packets,
        overlay_out: packets,
        wire_out: packets,
        wire_in: packets,
        overlay_in: packets,
        pod_in: packets,
    }
}

pub(crate) fn link(index: u32, name: &str, kind: Option<&str>) -> Link {
    Link {
        index,
        name: name.to_owned(),
        kind: kind.map(str::to_owned),
        up: true,
        lower_up: true,
        mtu: 1500,
        mtu6: None,
        mac: Some(MacAddress([2, 0, 0, 0, 0, u8::try_from(index).unwrap()])),
        layer3: false,
        master: None,
        lower: None,
        lower_elsewhere: false,
        vxlan: None,
    }
}

pub(crate) fn address(ifindex: u32, text: &str, prefix_length: u8) -> Address {
    Address {
        ifindex,
        address: text.parse().unwrap(),
        prefix_length,
        created_age: Some(1001.0),
        dad_failed: false,
    }
}

pub(crate) fn via(destination: IpNet, gateway: Option<IpAddr>, ifindex: u32) -> Route {
    Route {
        destination,
        table: TABLE_MAIN,
        kind: RouteKind::Unicast,
        metric: 0,
        protocol: 3,
        next_hops: vec![NextHop { gateway, ifindex: Some(ifindex) }],
    }
}

pub(crate) fn refusing(destination: IpNet, kind: RouteKind) -> Route {
    Route { kind, next_hops: Vec::new(), ..via(destination, None, 0) }
}

pub(crate) fn neighbour(ifindex: u32, address: IpAddr, mac: MacAddress) -> Neighbour {
    Neighbour {
        ifindex,
        address,
        mac: Some(mac),
        state: NeighbourState::Permanent,
        updated_age: Some(1000.0),
        confirmed_age: Some(1000.0),
    }
}

pub(crate) fn fdb(mac: MacAddress, destination: IpAddr) -> FdbEntry {
    FdbEntry {
        ifindex: OVERLAY,
        mac,
        destination: Some(destination),
        permanent: true,
        updated_age: Some(1000.0),
    }
}

pub(crate) fn rule(priority: u32, table: u32) -> Rule {
    Rule { family: 4, priority, table, source: None, destination: None, iif: None, looks_up: true }
}
