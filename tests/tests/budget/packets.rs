//! The packets that are measured with. Each begins with an Ethernet header to the loopback device's
//! own address: BPF_PROG_TEST_RUN takes a frame to another for one of another host.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{ArpHardwareId, ArpOperation, ArpPacket, EtherType, PacketBuilder};

use crate::programs::{
    NODE, NODE6, OWN_POD, OWN_POD6, PEER, PEER_POD, PEER_POD6, PEER6, PORT, VNI,
};

const LOOPBACK: [u8; 6] = [0; 6];
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];
const TTL: u8 = 63;
const PAYLOAD: [u8; 64] = [0x5a; 64];

/// A pod's datagram to a peer's pod.
pub(crate) fn outbound() -> Vec<u8> {
    udp(OWN_POD, PEER_POD, (40_000, 7_000), &PAYLOAD)
}

/// A peer's pod's datagram to a pod.
pub(crate) fn inbound() -> Vec<u8> {
    udp(PEER_POD, OWN_POD, (7_000, 40_000), &PAYLOAD)
}

/// A pod's DNS query to a peer's pod.
pub(crate) fn query() -> Vec<u8> {
    udp(OWN_POD, PEER_POD, (40_001, 53), &[&[0x12, 0x34, 1, 0][..], &[0; 24]].concat())
}

/// Its answer.
pub(crate) fn answer() -> Vec<u8> {
    udp(PEER_POD, OWN_POD, (53, 40_001), &[&[0x12, 0x34, 0x81, 0x80][..], &[0; 60]].concat())
}

/// [`outbound`], encapsulated.
pub(crate) fn vxlan_outbound() -> Vec<u8> {
    udp(NODE, PEER, (50_123, PORT), &vxlan(&outbound()))
}

/// [`inbound`], encapsulated by the peer.
pub(crate) fn vxlan_inbound() -> Vec<u8> {
    udp(PEER, NODE, (50_123, PORT), &vxlan(&inbound()))
}

/// [`outbound`] over IPv6.
pub(crate) fn outbound6() -> Vec<u8> {
    udp6(OWN_POD6, PEER_POD6, (40_000, 7_000), &PAYLOAD)
}

/// [`inbound`] over IPv6.
pub(crate) fn inbound6() -> Vec<u8> {
    udp6(PEER_POD6, OWN_POD6, (7_000, 40_000), &PAYLOAD)
}

/// [`vxlan_outbound`] over IPv6.
pub(crate) fn vxlan_outbound6() -> Vec<u8> {
    udp6(NODE6, PEER6, (50_123, PORT), &vxlan(&outbound6()))
}

/// [`vxlan_inbound`] over IPv6.
pub(crate) fn vxlan_inbound6() -> Vec<u8> {
    udp6(PEER6, NODE6, (50_123, PORT), &vxlan(&inbound6()))
}

/// What else a host sends and receives.
pub(crate) fn other() -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(SENDER, LOOPBACK)
        .ipv4([203, 0, 113, 9], NODE.octets(), TTL)
        .tcp(443, 51_000, 1, 1_000);
    let mut frame = Vec::new();
    builder.write(&mut frame, &PAYLOAD).unwrap();
    frame
}

/// Neither IP nor ARP: an announcement by LLDP.
pub(crate) fn lldp() -> Vec<u8> {
    let mut frame = arp();
    frame[12..14].copy_from_slice(&[0x88, 0xcc]);
    frame
}

/// A question by ARP.
pub(crate) fn arp() -> Vec<u8> {
    let question = ArpPacket::new(
        ArpHardwareId::ETHERNET,
        EtherType::IPV4,
        ArpOperation::REQUEST,
        &SENDER,
        &PEER.octets(),
        &LOOPBACK,
        &NODE.octets(),
    );
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(SENDER, LOOPBACK).arp(question.unwrap()).write(&mut frame).unwrap();
    frame
}

fn udp(source: Ipv4Addr, destination: Ipv4Addr, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(SENDER, LOOPBACK)
        .ipv4(source.octets(), destination.octets(), TTL)
        .udp(ports.0, ports.1);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

fn udp6(source: Ipv6Addr, destination: Ipv6Addr, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(SENDER, LOOPBACK)
        .ipv6(source.octets(), destination.octets(), TTL)
        .udp(ports.0, ports.1);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

/// A VXLAN header (RFC 7348, section 5) before a frame.
fn vxlan(frame: &[u8]) -> Vec<u8> {
    [&[8, 0, 0, 0][..], &(VNI << 8).to_be_bytes(), frame].concat()
}
