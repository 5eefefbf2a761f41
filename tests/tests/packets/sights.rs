//! Rare packets that tell by themselves what is wrong: each is counted as what it is, by its number,
//! and what merely resembles it is not counted at all.

use std::{collections::BTreeMap, net::IpAddr};

use tracer::evidence::{DropFlow, Evidence, IcmpError, MacAddress, Sight};
use tracer_tests::{
    inject,
    lab::{LOCK_WAIT, Lab},
    netns,
    plan::{Family, Mac, Node, Plan, SYSLOG_PORT, Stack},
    seed::Shape,
    tracer::Intent,
};

use crate::{
    NODE, PEER, bridge_mac,
    headers::{self, Tcp, frame, icmp, tcp, tunnelled, udp},
};

/// A MAC of nobody, and another.
const NOBODY: Mac = Mac([2, 0, 0, 0, 0, 0x99]);
const STRANGER: Mac = Mac([2, 0, 0, 0, 0, 0x98]);
const UDP: u8 = 17;
const TCP: u8 = 6;

/// Frames by one device, and what they must be seen as.
struct Case {
    name: &'static str,
    place: (String, String),
    frames: Vec<Vec<u8>>,
    seen: Option<(String, Sight)>,
}

/// Makes the cases of one family.
struct Maker<'a> {
    plan: &'a Plan,
    family: Family,
    node: &'a Node,
    peer: &'a Node,
    bridge: Mac,
    cases: Vec<Case>,
}

#[test]
fn every_sight_is_counted_as_what_it_is() {
    let shape =
        Shape { nodes: Some(2), stack: Stack::Dual, bridge_netfilter: false, ..Shape::default() };
    let lab = Lab::up(Plan::draw(133, &shape), LOCK_WAIT).unwrap();
    let watch = lab.watch(NODE, Intent::SubnetEnv, &[]).unwrap();
    let mut expected = BTreeMap::new();
    for family in Stack::Dual.families() {
        // No two cases have as many packets, so that none is mistaken for another.
        for (case, times) in cases(&lab, *family).into_iter().zip(2..) {
            let ((namespace, device), frames) = (&case.place, &case.frames);
            let copies: Vec<_> = (0..times).flat_map(|_| frames.clone()).collect();
            inject::frames(namespace, device, &copies).unwrap();
            println!("{family:?} {} × {times}", case.name);
            if let Some(seen) = case.seen {
                assert_eq!(expected.insert(seen, times), None, "{}", case.name);
            }
        }
    }
    let evidence: Evidence = serde_json::from_value(watch.end().unwrap().evidence).unwrap();
    let traffic = evidence.traffic.unwrap();
    assert_eq!(traffic.own.map_insert_failures, 0);
    let mut counted = BTreeMap::new();
    for it in traffic.sightings {
        counted.insert((it.interface, it.what), it.packets);
    }
    // Pods that really answered for their own addresses.
    let stranger = MacAddress(STRANGER.0);
    counted.retain(|(_, what), _| !matches!(what, Sight::Claim { mac, .. } if *mac != stranger));
    assert_eq!(counted, expected);
}

fn cases(lab: &Lab, family: Family) -> Vec<Case> {
    let plan = lab.plan();
    let (node, peer) = (&plan.nodes[NODE], &plan.nodes[PEER]);
    let bridge = headers::mac(&bridge_mac(lab));
    let mut maker = Maker { plan, family, node, peer, bridge, cases: Vec::new() };
    maker.icmp_at_the_uplink();
    maker.vxlan_at_the_uplink();
    maker.out_of_the_tunnel();
    maker.pods_send();
    maker.pods_receive();
    maker.on_the_way_out();
    maker.cases
}

// === impl Maker ===

impl Maker<'_> {
    fn add(
        &mut self,
        name: &'static str,
        place: (String, String),
        frame: Vec<u8>,
        seen: Option<(&str, Sight)>,
    ) {
        let seen = seen.map(|(interface, what)| (interface.to_owned(), what));
        self.cases.push(Case { name, place, frames: vec![frame], seen });
    }

    fn lan(&self) -> (String, String) {
        (netns::CLIENT.to_owned(), "eth0".to_owned())
    }

    fn pod(&self) -> (String, String) {
        (self.node.pods[0].namespace.clone(), "eth0".to_owned())
    }

    fn by(&self, device: &str) -> (String, String) {
        (self.node.namespace.clone(), device.to_owned())
    }

    /// Addresses of the node, the peer and the client of the LAN.
    fn ends(&self) -> [IpAddr; 3] {
        [self.node.ip.of(self.family), self.peer.ip.of(self.family), self.client()]
    }

    fn client(&self) -> IpAddr {
        self.plan.lan.client.of(self.family)
    }

    /// Addresses of a pod of the node, and of one of the peer.
    fn pods(&self) -> [IpAddr; 2] {
        [self.node, self.peer].map(|it| it.pods[0].ip.of(self.family))
    }

    /// A frame for the node from its LAN.
    fn to_node(&self, packet: &[u8]) -> Vec<u8> {
        frame(self.node.uplink_mac, NOBODY, self.family, packet)
    }

    /// An IP packet inside the tunnel, from the peer.
    fn through(&self, header: [u32; 2], macs: (Mac, Mac), packet: &[u8]) -> Vec<u8> {
        let [node, peer, _] = self.ends();
        let inner = frame(macs.0, macs.1, self.family, packet);
        self.to_node(&udp((peer, 50_000), (node, self.plan.port), &tunnelled(header, &inner)))
    }

    fn header(&self) -> [u32; 2] {
        [0x0800_0000, self.plan.vni << 8]
    }

    fn macs(&self) -> (Mac, Mac) {
        let [own, other] = [self.node, self.peer].map(|it| it.vtep_mac.of(self.family));
        (own, other)
    }

    /// A datagram from a pod of the peer to one that listens.
    fn inner(&self) -> Vec<u8> {
        udp((self.pods()[1], 40_000), (self.pods()[0], SYSLOG_PORT), b"inner")
    }

    /// Type and code of "port unreachable", "packet too big" and "time exceeded".
    fn errors(&self) -> [(u8, u8); 3] {
        match self.family {
            Family::V4 => [(3, 3), (3, 4), (11, 0)],
            Family::V6 => [(1, 4), (2, 0), (3, 0)],
        }
    }

    fn icmp_at_the_uplink(&mut self) {
        let (uplink, [node, peer, client]) = (self.node.uplink.clone(), self.ends());
        let [unreachable, too_big, expired] = self.errors();
        let tunnel = udp((node, 50_000), (peer, self.plan.port), &tunnelled(self.header(), b""));
        let quoted = flow((node, 0), (peer, self.plan.port), UDP);
        let sight = error((peer, node), unreachable, 0, quoted);
        let packet = self.to_node(&icmp(peer, node, unreachable, 0, &tunnel));
        self.add("nobody listens", self.lan(), packet, Some((&uplink, sight)));

        let outside = self.outside();
        let opening = tcp((self.pods()[0], 40_002), (outside, 443), Tcp::OPENING, 5);
        let quoted = flow((self.pods()[0], 0), (outside, 443), TCP);
        let sight = error((client, node), too_big, 1_337, quoted);
        let packet = self.to_node(&icmp(client, node, too_big, 1_337, &opening));
        self.add("a pod's packet was too big", self.lan(), packet, Some((&uplink, sight)));

        let own = tcp((node, 40_003), (client, 443), Tcp::OPENING, 5);
        let packet = self.to_node(&icmp(client, node, expired, 0, &own));
        self.add("a packet of the node expired", self.lan(), packet, None);
        let foreign = udp((client, 50_000), (peer, self.plan.port), b"");
        let packet = self.to_node(&icmp(peer, node, unreachable, 0, &foreign));
        self.add("a datagram of another was refused", self.lan(), packet, None);
    }

    fn vxlan_at_the_uplink(&mut self) {
        let (uplink, [node, peer, client]) = (self.node.uplink.clone(), self.ends());
        let (vni, inner) = (self.plan.vni, self.inner());
        let at = |sight| Some((uplink.as_str(), sight));
        let with = |maker: &Self, header| maker.through(header, maker.macs(), &inner);

        let packet = with(self, [0x0800_0000, (vni + 1) << 8]);
        let sight = Sight::OtherVni { source: peer, vni: vni + 1 };
        self.add("another VNI", self.lan(), packet, at(sight));
        // One for each way to be refused, as what the first word says.
        for (name, header) in [
            ("no flag", [0, vni << 8]),
            ("an unknown flag", [0x8800_0007, vni << 8]),
            ("a byte behind the VNI", [0x0800_0000, vni << 8 | 1]),
        ] {
            let sight = Sight::BadHeader { source: peer, flags: header[0] };
            self.add(name, self.lan(), with(self, header), at(sight));
        }
        let (own, _) = self.macs();
        let packet = self.through(self.header(), (own, own), &inner);
        self.add("the own MAC", self.lan(), packet, at(Sight::OwnMac { source: peer }));

        let port = if self.plan.port == 8472 { 4789 } else { 8472 };
        let payload = tunnelled([0x0800_0000, 77 << 8], &frame(own, NOBODY, self.family, &inner));
        let packet = self.to_node(&udp((client, 50_000), (node, port), &payload));
        let sight = Sight::OtherPort { source: client, port, vni: 77 };
        self.add("another port", self.lan(), packet, at(sight));
        let packet = self.to_node(&udp((client, 50_000), (node, port), &[b'x'; 60]));
        self.add("no VXLAN to its port", self.lan(), packet, None);
        let packet = self.through(self.header(), self.macs(), &inner);
        self.add("a right one", self.lan(), packet, None);
    }

    fn out_of_the_tunnel(&mut self) {
        let overlay = self.plan.overlay(self.family);
        let ([own, other], (to, from)) = (self.pods(), self.macs());
        let at = |sight| Some((overlay.as_str(), sight));
        let with = |maker: &Self, macs, packet: &[u8]| maker.through(maker.header(), macs, packet);

        let packet = with(self, (STRANGER, from), &self.inner());
        let sight = Sight::OtherMac {
            destination: MacAddress(STRANGER.0),
            source: MacAddress(from.0),
            address: other,
        };
        self.add("another's MAC", self.lan(), packet, at(sight));

        let refused = tcp((other, 81), (own, 40_004), Tcp::REFUSAL, 0);
        let sight = Sight::Reset { source: other, port: 81, destination: own };
        let packet = with(self, (to, from), &refused);
        self.add("a refused connection", self.lan(), packet, at(sight));
        let reset = tcp((other, 82), (own, 40_005), Tcp::REFUSAL, 9);
        let packet = with(self, (to, from), &reset);
        self.add("the end of a connection", self.lan(), packet, None);

        let gateway = self.peer.end(self.family).flannel_ip();
        let [unreachable, ..] = self.errors();
        let asked = udp((own, 40_006), (other, 83), b"?");
        let sight = error((gateway, own), unreachable, 0, flow((own, 0), (other, 83), UDP));
        let packet = with(self, (to, from), &icmp(gateway, own, unreachable, 0, &asked));
        self.add("a rejected datagram", self.lan(), packet, at(sight));
    }

    fn pods_send(&mut self) {
        let (bridge, [own, other]) = (self.node.bridge.clone(), self.pods());
        let at = |sight| Some((bridge.as_str(), sight));
        let to_bridge =
            |maker: &Self, packet: &[u8]| frame(maker.bridge, NOBODY, maker.family, packet);

        let refused = to_bridge(self, &tcp((own, 84), (other, 40_007), Tcp::REFUSAL, 0));
        let sight = Sight::Reset { source: own, port: 84, destination: other };
        self.add("a pod refuses", self.pod(), refused, at(sight));

        let [unreachable, ..] = self.errors();
        let asked = udp((other, 40_008), (own, 85), b"?");
        let packet = to_bridge(self, &icmp(own, other, unreachable, 0, &asked));
        let sight = error((own, other), unreachable, 0, flow((other, 0), (own, 85), UDP));
        self.add("a pod's port is closed", self.pod(), packet, at(sight));

        let claim = headers::claim(self.bridge, STRANGER, own);
        let sight = Sight::Claim { address: own, mac: MacAddress(STRANGER.0) };
        self.add("a claim", self.pod(), claim, at(sight));
        let elsewhere = headers::claim(self.bridge, STRANGER, other);
        self.add("a claim of another network", self.pod(), elsewhere, None);
    }

    fn pods_receive(&mut self) {
        let (bridge, [own, other]) = (self.node.bridge.clone(), self.pods());
        let gateway = self.node.end(self.family).bridge_ip();
        let [_, _, expired] = self.errors();
        let asked = udp((own, 40_009), (other, 86), b"?");
        let to_pod = |maker: &Self, from: IpAddr| {
            let packet = icmp(from, own, expired, 0, &asked);
            frame(NOBODY, maker.bridge, maker.family, &packet)
        };
        let sight = error((gateway, own), expired, 0, flow((own, 0), (other, 86), UDP));
        let packet = to_pod(self, gateway);
        self.add("the node refuses", self.by(&bridge), packet, Some((&bridge, sight)));
        let packet = to_pod(self, other);
        self.add("passed on", self.by(&bridge), packet, None);
    }

    fn on_the_way_out(&mut self) {
        let (uplink, [node, peer, _]) = (self.node.uplink.clone(), self.ends());
        let ([own, other], outside) = (self.pods(), self.outside());
        let out = |maker: &Self, packet: &[u8]| {
            frame(NOBODY, maker.node.uplink_mac, maker.family, packet)
        };
        let inner = frame(NOBODY, STRANGER, self.family, &udp((own, 1), (other, 2), &[0; 64]));
        let payload = tunnelled(self.header(), &inner);
        let whole = udp((node, 50_000), (peer, self.plan.port), &payload);
        let frames = headers::in_two(self.family, &whole, 104).map(|part| out(self, &part));
        self.cases.push(Case {
            name: "outer fragments",
            place: self.by(&uplink),
            frames: frames.to_vec(),
            seen: Some((uplink.clone(), Sight::OuterFragment { destination: peer })),
        });

        let opening = |from: IpAddr, to: IpAddr| tcp((from, 40_010), (to, 443), Tcp::OPENING, 5);
        let packet = out(self, &opening(own, outside));
        // It came in by no device: only what is forwarded can have lost its masquerade.
        self.add("the node's own, with a pod's address", self.by(&uplink), packet, None);
        let packet = out(self, &opening(node, outside));
        self.add("the node's own connection", self.by(&uplink), packet, None);
        let packet = out(self, &opening(own, other));
        self.add("a leak", self.by(&uplink), packet, None);
        let answer = tcp((own, 80), (outside, 40_011), Tcp::ANSWER, 5);
        self.add("a pod's answer", self.by(&uplink), out(self, &answer), None);
    }

    /// An address of no plan: of the ranges for benchmarks and for documentation.
    fn outside(&self) -> IpAddr {
        let text = if self.family == Family::V4 { "198.18.0.9" } else { "2001:db8:ffff::9" };
        text.parse().unwrap()
    }
}

fn flow(source: (IpAddr, u16), destination: (IpAddr, u16), protocol: u8) -> DropFlow {
    DropFlow {
        source: source.0,
        destination: destination.0,
        protocol,
        source_port: source.1,
        destination_port: destination.1,
    }
}

fn error(
    (sender, receiver): (IpAddr, IpAddr),
    (kind, code): (u8, u8),
    mtu: u16,
    quoted: DropFlow,
) -> Sight {
    Sight::IcmpError(IcmpError { sender, receiver, kind, code, mtu, quoted })
}
