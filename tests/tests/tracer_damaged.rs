//! Packets of a peer that were damaged on their way: made by hand, put onto the peer's uplink beside
//! the lab's own traffic, and told by the victim of the plan. Each of their kind alone is healthy
//! when there are too few of it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::net::IpAddr;

use etherparse::PacketBuilder;
use tracer_tests::{
    lab::{LOCK_WAIT, Lab},
    plan::{Family, Plan, SYSLOG_PORT, Stack},
    sample::{OF_LAB, Sample},
    seed::Shape,
    told::{in_labs, wrong},
    traffic::{Flow, Limits, Sender, Traffic},
};

/// Frames a second.
const RATE: f64 = 20.0;
/// The port that outer and inner datagrams are sent from.
const FROM: u16 = 50_000;
const TTL: u8 = 64;
/// The flag that a VXLAN header has a VNI, as its first word (RFC 7348, section 5).
const HAS_VNI: u32 = 0x0800_0000;
const ETHERNET: usize = 14;

/// A kind of damage.
struct Scene {
    code: &'static str,
    frame: fn(&Plan, Family) -> Vec<u8>,
    /// The families that can have it.
    families: &'static [Family],
}

const SCENES: [Scene; 2] = [
    Scene {
        code: "vxlan-udp-checksum-bad",
        frame: |plan, family| {
            let mut frame = outer(plan, family, &inner(plan, family));
            let header = if family == Family::V4 { 20 } else { 40 };
            damage(&mut frame, ETHERNET + header + 6);
            frame
        },
        families: &[Family::V4, Family::V6],
    },
    Scene {
        code: "inner-ip-damaged",
        frame: |plan, family| {
            let mut inner = inner(plan, family);
            damage(&mut inner, ETHERNET + 10);
            outer(plan, family, &inner)
        },
        families: &[Family::V4],
    },
];

#[test]
fn damaged_packets_are_told_by_their_receiver() {
    in_labs(
        |stack| lab(520, 3, stack),
        |lab, family| {
            let plan = lab.plan();
            let _traffic = lab.traffic_all_pairs();
            let key = plan.peer().subnet.of(family).to_string();
            let scenes = SCENES.iter().filter(|scene| scene.families.contains(&family));
            let told = scenes.map(|scene| {
                let _damaged = Traffic::start(vec![sender(plan, (scene.frame)(plan, family))]);
                wrong(lab, plan.site.victim, &[(scene.code, &key)])
            });
            told.collect()
        },
    )
    .unwrap();
}

/// The same frames whole: they arrive, or nothing above would prove anything.
#[test]
fn whole_packets_made_by_hand_are_no_finding() {
    let lab = lab(521, 2, Stack::V4);
    let plan = lab.plan();
    let _traffic = lab.traffic_all_pairs();
    let whole = outer(plan, Family::V4, &inner(plan, Family::V4));
    let _whole = Traffic::start(vec![sender(plan, whole)]);
    assert_eq!(wrong(&lab, plan.site.victim, &[]), "");
}

/// A lab that is another one with each sample.
fn lab(seed: u64, nodes: usize, stack: Stack) -> Lab {
    let seed = Sample::of_environment(OF_LAB).unwrap().lab_seed(seed);
    let shape = Shape { nodes: Some(nodes), stack, ..Shape::default() };
    Lab::up(Plan::draw(seed, &shape), LOCK_WAIT).unwrap()
}

fn sender(plan: &Plan, frame: Vec<u8>) -> Sender {
    let peer = plan.peer();
    let flow = Flow::Frames { device: peer.uplink.clone(), frame };
    Sender { namespace: peer.namespace.clone(), flow, limits: Limits::steady(RATE) }
}

/// Another checksum than the right one, and not the one of UDP that says there is none.
fn damage(frame: &mut [u8], at: usize) {
    frame[at] ^= 0x55;
    if frame[at..at + 2] == [0, 0] {
        frame[at] = 0x55;
    }
}

/// A datagram from a pod of the peer to one of the victim that listens, in a frame of the peer's
/// overlay device.
fn inner(plan: &Plan, family: Family) -> Vec<u8> {
    let [from, to] = [plan.peer(), plan.victim()];
    let macs = [from, to].map(|node| node.vtep_mac.of(family).0);
    let ips = [from, to].map(|node| node.first_pod().unwrap().ip.of(family));
    datagram(macs, ips, SYSLOG_PORT, &[0x64; 64])
}

/// A frame in the tunnel, in a frame of the peer's uplink.
fn outer(plan: &Plan, family: Family, inner: &[u8]) -> Vec<u8> {
    let [from, to] = [plan.peer(), plan.victim()];
    let macs = [from, to].map(|node| node.uplink_mac.0);
    let ips = [from, to].map(|node| node.ip.of(family));
    let header = [HAS_VNI, plan.vni << 8].map(u32::to_be_bytes).concat();
    datagram(macs, ips, plan.port, &[&header, inner].concat())
}

fn datagram(macs: [[u8; 6]; 2], ips: [IpAddr; 2], port: u16, payload: &[u8]) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(macs[0], macs[1]);
    let packet = match ips {
        [IpAddr::V4(from), IpAddr::V4(to)] => ethernet.ipv4(from.octets(), to.octets(), TTL),
        [IpAddr::V6(from), IpAddr::V6(to)] => ethernet.ipv6(from.octets(), to.octets(), TTL),
        other => panic!("addresses of two families: {other:?}"),
    };
    let mut frame = Vec::new();
    packet.udp(FROM, port).write(&mut frame, payload).unwrap();
    frame
}
