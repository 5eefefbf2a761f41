//! The odd packets, a case each, and what the tracer must make of them.

use std::net::Ipv4Addr;

use tracer::evidence::{Stage, StageCounts, Traffic};
use tracer_common::counter::ParseError;
use tracer_tests::{
    netns,
    plan::{Mac, Node, Plan, SYSLOG_PORT},
};

use crate::{
    NODE, PEER,
    craft::{IPV4, Ip, MORE, OPTIONS, QINQ, VLAN, ethernet, tagged, vxlan},
    row,
};

/// Where the large datagrams go; nobody listens there, and nobody needs to.
pub(crate) const LARGE_PORT: u16 = SYSLOG_PORT + 1;
/// Of the range for benchmarks (RFC 2544), which no plan draws.
const UNKNOWN: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 9);
/// A MAC of nobody.
const NOBODY: Mac = Mac([2, 0, 0, 0, 0, 0x99]);
/// The VLAN of a tag; no device of the lab is in any.
const TAG: u16 = 42;
/// Every case has a destination port of its own from here on.
const FIRST_PORT: u16 = 20_000;

/// One kind of packet.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) namespace: String,
    pub(crate) device: String,
    pub(crate) expected: Expected,
    /// Whether it cannot be read from its usual places.
    pub(crate) slow: bool,
    frames: Vec<Vec<u8>>,
    /// No two cases have as many, so that none is mistaken for another.
    times: u64,
}

/// What the tracer must make of a packet.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected {
    /// A parse error at the stage that sees it first.
    Error(Stage, ParseError),
    /// A row of this flow with one packet at each of these stages.
    Row(Ipv4Addr, Ipv4Addr, u16, &'static [Stage]),
}

/// Makes cases for one lab.
struct Maker<'a> {
    plan: &'a Plan,
    node: &'a Node,
    peer: &'a Node,
    bridge: Mac,
    cases: Vec<Case>,
}

/// Where a packet comes from.
#[derive(Debug, Clone, Copy)]
enum From {
    /// A machine of the LAN, to the node.
    Lan,
    /// A pod, to its bridge.
    Pod,
    /// The node itself, by its uplink to the peer.
    Node,
}

const NOWHERE: &[Stage] = &[];
const IN: &[Stage] = &[Stage::WireIn, Stage::OverlayIn, Stage::PodIn];
const OUT: &[Stage] = &[Stage::PodOut, Stage::OverlayOut, Stage::WireOut];

/// All cases. `bridge` is the MAC of the node's bridge.
pub(crate) fn all(plan: &Plan, bridge: &str) -> Vec<Case> {
    let mut mac = [0; 6];
    for (byte, text) in mac.iter_mut().zip(bridge.split(':')) {
        *byte = u8::from_str_radix(text, 16).unwrap();
    }
    let (node, peer) = (&plan.nodes[NODE], &plan.nodes[PEER]);
    let mut maker = Maker { plan, node, peer, bridge: Mac(mac), cases: Vec::new() };
    maker.unreadable_at_the_uplink();
    maker.unreadable_from_a_pod();
    maker.unreadable_on_the_way_out();
    maker.odd_but_right_at_the_uplink();
    maker.odd_but_right_from_a_pod();
    maker.wrong_where_only_the_kernel_looks();
    maker.of_a_vlan();
    maker.cases
}

// === impl Case ===

impl Case {
    /// Packets of it, fragments taken together.
    pub(crate) fn packets(&self) -> u64 {
        self.times
    }

    /// All its frames.
    pub(crate) fn copies(&self) -> Vec<Vec<u8>> {
        (0..self.times).flat_map(|_| self.frames.iter().cloned()).collect()
    }

    /// The row of a readable packet is there and right, or not there at all.
    pub(crate) fn assert_row(&self, seen: &Traffic) {
        let Expected::Row(source, destination, port, stages) = self.expected else { return };
        let mut expected = StageCounts::default();
        for stage in stages {
            *expected.at_mut(*stage) = self.times;
        }
        let counted = row(seen, source, destination, port).map(|row| row.packets);
        assert_eq!(counted.unwrap_or_default(), expected, "{}", self.name);
    }
}

// === impl Maker ===

impl Maker<'_> {
    fn add(&mut self, name: &'static str, from: From, frames: Vec<Vec<u8>>, expected: Expected) {
        let (namespace, device) = match from {
            From::Lan => (netns::CLIENT.to_owned(), "eth0".to_owned()),
            From::Pod => (self.node.pods[0].namespace.clone(), "eth0".to_owned()),
            From::Node => (self.node.namespace.clone(), self.node.uplink.clone()),
        };
        let times = self.cases.len() as u64 + 3;
        let slow = false;
        self.cases.push(Case { name, namespace, device, expected, slow, frames, times });
    }

    /// As [`Maker::add`], for a packet whose headers are not where they usually are.
    fn add_slow(&mut self, name: &'static str, from: From, frame: Vec<Vec<u8>>, it: Expected) {
        self.add(name, from, frame, it);
        if let Some(case) = self.cases.last_mut() {
            case.slow = true;
        }
    }

    /// The destination port of the next case.
    fn port(&self) -> u16 {
        FIRST_PORT + self.cases.len() as u16
    }

    fn pods(&self) -> (Ipv4Addr, Ipv4Addr) {
        (self.node.pods[0].ip.v4, self.peer.pods[0].ip.v4)
    }

    /// The inner packet of the next case, to the node's pod.
    fn inner(&self, source: Ipv4Addr) -> Ip {
        Ip::udp(source, self.pods().0, (40_000, self.port()), b"inner")
    }

    /// Its frame, as the peer's overlay device makes it.
    fn inner_frame(&self, packet: &[u8]) -> Vec<u8> {
        ethernet(self.node.vtep_mac.v4, self.peer.vtep_mac.v4, IPV4, packet)
    }

    /// The outer packet, as the peer sends it.
    fn outer(&self, payload: &[u8]) -> Ip {
        Ip::udp(self.peer.ip.v4, self.node.ip.v4, (50_000, self.plan.port), payload)
    }

    /// A VXLAN packet of the tunnel around an inner frame.
    fn tunnelled(&self, frame: &[u8]) -> Ip {
        self.outer(&vxlan(self.plan.vni, frame))
    }

    fn to_node(&self, packet: &[u8]) -> Vec<Vec<u8>> {
        vec![ethernet(self.node.uplink_mac, NOBODY, IPV4, packet)]
    }

    fn to_bridge(&self, packet: &[u8]) -> Vec<Vec<u8>> {
        vec![ethernet(self.bridge, NOBODY, IPV4, packet)]
    }

    fn unreadable_at_the_uplink(&mut self) {
        let inner = self.inner(UNKNOWN);
        let (whole, frame) = (self.outer(&[]), self.inner_frame(&inner.bytes()));
        let tunnelled = self.tunnelled(&frame);
        let cut = |bytes: usize| self.tunnelled(&frame[..bytes]).bytes();
        let mut no_flag = tunnelled.clone();
        no_flag.payload[8] = 0;
        let version = self.tunnelled(&self.inner_frame(&inner.with(0, &[0x65])));
        let kinds: [(ParseError, Vec<u8>); 12] = [
            (ParseError::TruncatedIpv4, whole.bytes()[..10].to_vec()),
            (ParseError::Ipv4Version, whole.with(0, &[0x65])),
            (ParseError::Ipv4HeaderLength, whole.with(0, &[0x44])),
            (ParseError::Ipv4TotalLength, whole.with(2, &[0, 19])),
            (ParseError::TruncatedTransport, whole.bytes()[..22].to_vec()),
            // Junk to the tunnel's port: three bytes, and a hundred.
            (ParseError::TruncatedVxlan, self.outer(b"abc").bytes()),
            (ParseError::VxlanFlags, self.outer(&[b'a' & !8; 100]).bytes()),
            (ParseError::VxlanFlags, no_flag.bytes()),
            (ParseError::TruncatedInnerEthernet, cut(10)),
            (ParseError::TruncatedInnerIpv4, cut(14 + 12)),
            (ParseError::InnerIpv4, version.bytes()),
            (ParseError::TruncatedInnerTransport, cut(14 + 20 + 2)),
        ];
        for (kind, packet) in kinds {
            let expected = Expected::Error(Stage::WireIn, kind);
            self.add(kind.name(), From::Lan, self.to_node(&packet), expected);
        }
    }

    fn unreadable_from_a_pod(&mut self) {
        let (own, other) = self.pods();
        let whole = Ip::udp(own, other, (40_000, 1), b"plain");
        for (kind, packet) in [
            (ParseError::TruncatedIpv4, whole.bytes()[..19].to_vec()),
            (ParseError::Ipv4Version, whole.with(0, &[0x05])),
            (ParseError::Ipv4HeaderLength, whole.with(0, &[0x40])),
            (ParseError::Ipv4TotalLength, whole.with(2, &[0, 1])),
            (ParseError::TruncatedTransport, whole.bytes()[..23].to_vec()),
        ] {
            let expected = Expected::Error(Stage::PodOut, kind);
            self.add(kind.name(), From::Pod, self.to_bridge(&packet), expected);
        }
    }

    /// On their way in the kernel takes the first tag away and refuses a frame that ends in one.
    fn unreadable_on_the_way_out(&mut self) {
        let tags = tagged(1, VLAN, &tagged(2, VLAN, &tagged(3, IPV4, &[0; 40])));
        for (kind, frame) in [
            (ParseError::TruncatedEthernet, ethernet(NOBODY, NOBODY, VLAN, &[])),
            (ParseError::VlanDepth, ethernet(NOBODY, NOBODY, VLAN, &tags)),
        ] {
            let expected = Expected::Error(Stage::WireOut, kind);
            self.add_slow(kind.name(), From::Node, vec![frame], expected);
        }
    }

    fn odd_but_right_at_the_uplink(&mut self) {
        let (own, other) = self.pods();
        let row = |port: u16, stages| Expected::Row(other, own, port, stages);

        let mut outer = self.tunnelled(&self.inner_frame(&self.inner(other).bytes()));
        outer.options = OPTIONS.to_vec();
        let frames = self.to_node(&outer.bytes());
        self.add_slow("outer options", From::Lan, frames, row(self.port(), IN));

        let mut inner = self.inner(other);
        inner.options = OPTIONS.to_vec();
        let frames = self.to_node(&self.tunnelled(&self.inner_frame(&inner.bytes())).bytes());
        self.add_slow("inner options, received", From::Lan, frames, row(self.port(), IN));

        // The first one holds all headers; the kernel puts the two together before it unpacks.
        let whole = self.tunnelled(&self.inner_frame(&self.inner(other).bytes()));
        let parts = whole.in_two(56).map(|part| self.to_node(&part.bytes())).concat();
        self.add("outer fragments", From::Lan, parts, row(self.port(), IN));

        let nested = vxlan(self.plan.vni, &self.inner_frame(&self.inner(other).bytes()));
        let carrier = Ip::udp(other, own, (40_000, self.plan.port), &nested);
        let frames = self.to_node(&self.tunnelled(&self.inner_frame(&carrier.bytes())).bytes());
        self.add("a tunnel in the tunnel", From::Lan, frames, row(self.plan.port, IN));

        let frame = self.inner_frame(&self.inner(other).bytes());
        let frames = self.to_node(&self.outer(&vxlan(self.plan.vni + 1, &frame)).bytes());
        self.add("another VNI", From::Lan, frames, row(self.port(), NOWHERE));
    }

    fn odd_but_right_from_a_pod(&mut self) {
        let (own, other) = self.pods();
        let row = |port: u16, stages| Expected::Row(own, other, port, stages);
        let mut options = Ip::udp(own, other, (40_000, self.port()), b"plain");
        options.options = OPTIONS.to_vec();
        let frames = self.to_bridge(&options.bytes());
        self.add_slow("inner options, sent", From::Pod, frames, row(self.port(), OUT));

        let nested = vxlan(self.plan.vni, &self.inner_frame(&self.inner(other).bytes()));
        let carrier = Ip::udp(own, other, (40_000, self.plan.port), &nested);
        let frames = self.to_bridge(&carrier.bytes());
        self.add("a pod's own tunnel", From::Pod, frames, row(self.plan.port, OUT));
    }

    /// The lengths inside do not fit, which the parser has no need to know: the kernel drops them
    /// further on. From an unknown sender, so that this is nobody's loss.
    fn wrong_where_only_the_kernel_looks(&mut self) {
        let own = self.pods().0;
        let row = |port: u16, stages| Expected::Row(UNKNOWN, own, port, stages);
        let mut outer = self.tunnelled(&self.inner_frame(&self.inner(UNKNOWN).bytes()));
        outer.payload[4..6].copy_from_slice(&[0xff, 0xff]);
        let frames = self.to_node(&outer.bytes());
        self.add("outer UDP too long", From::Lan, frames, row(self.port(), &[Stage::WireIn]));

        let inner = self.inner(UNKNOWN).with(2, &[0x05, 0xff]);
        let frames = self.to_node(&self.tunnelled(&self.inner_frame(&inner)).bytes());
        let stages = &[Stage::WireIn, Stage::OverlayIn];
        self.add("inner IPv4 too long", From::Lan, frames, row(self.port(), stages));

        let mut later = self.inner(UNKNOWN);
        later.fragment = MORE;
        let frames = self.to_node(&self.tunnelled(&self.inner_frame(&later.bytes())).bytes());
        self.add("a fragment alone", From::Lan, frames, row(self.port(), stages));
    }

    /// No device takes them: they are no flow of the node's.
    fn of_a_vlan(&mut self) {
        let (own, other) = self.pods();
        let packet = self.tunnelled(&self.inner_frame(&self.inner(other).bytes())).bytes();
        let frame = ethernet(self.node.uplink_mac, NOBODY, VLAN, &tagged(TAG, IPV4, &packet));
        let expected = Expected::Row(other, own, self.port(), NOWHERE);
        self.add("a VLAN at the uplink", From::Lan, vec![frame], expected);

        let packet = self.tunnelled(&self.inner_frame(&self.inner(other).bytes())).bytes();
        let tags = tagged(TAG, VLAN, &tagged(TAG + 1, IPV4, &packet));
        let frame = ethernet(self.node.uplink_mac, NOBODY, QINQ, &tags);
        let expected = Expected::Row(other, own, self.port(), NOWHERE);
        self.add("two VLANs at the uplink", From::Lan, vec![frame], expected);

        let packet = Ip::udp(own, other, (40_000, self.port()), b"plain").bytes();
        let frame = ethernet(self.bridge, NOBODY, VLAN, &tagged(TAG, IPV4, &packet));
        let expected = Expected::Row(own, other, self.port(), NOWHERE);
        self.add("a VLAN from a pod", From::Pod, vec![frame], expected);

        let inner = Ip::udp(own, other, (40_000, self.port()), b"inner").bytes();
        let frame = ethernet(self.peer.vtep_mac.v4, self.node.vtep_mac.v4, IPV4, &inner);
        let payload = vxlan(self.plan.vni, &frame);
        let outer = Ip::udp(self.node.ip.v4, self.peer.ip.v4, (50_000, self.plan.port), &payload);
        let tags = tagged(TAG, IPV4, &outer.bytes());
        let frame = ethernet(self.peer.uplink_mac, NOBODY, VLAN, &tags);
        let expected = Expected::Row(own, other, self.port(), &[Stage::WireOut]);
        self.add_slow("a VLAN on the way out", From::Node, vec![frame], expected);
    }
}
