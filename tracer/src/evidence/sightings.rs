use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{DropFlow, MacAddress};

/// A kind of packet that a healthy overlay has seldom or never, and that tells by itself what is
/// wrong. Counted by the programs off the path of ordinary packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Name of the device where it was seen.
    pub interface: String,
    /// What was seen.
    pub what: Sight,
    /// Packets in the window.
    pub packets: u64,
    /// Packets until the read in the middle.
    pub early: u64,
}

/// What was seen. Addresses "outer" are those of nodes, "inner" those of pods. What differs from one
/// attempt to the next, such as the port of who asks, is in none of them, so that attempts add up.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sight {
    /// An ICMP or ICMPv6 error: destination unreachable, packet too big, time exceeded. At an
    /// uplink's ingress one that quotes VXLAN of this node, or a packet of or to a pod; at the
    /// ingress of the overlay device and of the bridge any; at the bridge's egress one that an
    /// address of this node has sent.
    IcmpError(IcmpError),
    /// VXLAN to the tunnel's port and to an address of this node, but of another VNI than the
    /// overlay device's, at an uplink's ingress. It may be that of another device.
    OtherVni {
        /// Outer source.
        source: IpAddr,
        /// The VNI in the packet.
        vni: u32,
    },
    /// A datagram at an uplink's ingress to an address of this node, from anyone, to another of
    /// VXLAN's usual ports (8472, 4789) than the tunnel's, with a VXLAN header.
    OtherPort {
        /// Outer source.
        source: IpAddr,
        /// Destination port of the datagram.
        port: u16,
        /// The VNI in it.
        vni: u32,
    },
    /// VXLAN to the tunnel's port and to an address of this node whose header the overlay device
    /// refuses, at an uplink's ingress: without the flag of a VNI, or with bits that are reserved.
    /// Those may also stand behind the VNI, beside right flags.
    BadHeader {
        /// Outer source.
        source: IpAddr,
        /// The first word of the VXLAN header, network byte order read as a number.
        flags: u32,
    },
    /// A unicast frame for another MAC than the overlay device's (`pkt_type` OTHERHOST), at the
    /// overlay device's ingress.
    OtherMac {
        /// Ethernet destination of the inner frame.
        destination: MacAddress,
        /// Ethernet source of the inner frame: the sender's VTEP MAC.
        source: MacAddress,
        /// Inner source address.
        address: IpAddr,
    },
    /// VXLAN at an uplink's ingress whose inner Ethernet source is the overlay device's own MAC.
    OwnMac {
        /// Outer source.
        source: IpAddr,
    },
    /// The first fragment of an outer datagram, at an uplink's egress: one for each datagram.
    OuterFragment {
        /// Outer destination.
        destination: IpAddr,
    },
    /// The opening packet (a TCP SYN without ACK) of a connection of a pod of this node, leaving an
    /// uplink with the pod's own address. Destinations are unicast and no pods; addresses of
    /// services, and of the node's own networks, are among them.
    Unmasqueraded {
        /// The pod.
        source: IpAddr,
        /// Where to.
        destination: IpAddr,
        /// Destination port.
        port: u16,
    },
    /// A TCP reset that refuses a connection (it acknowledges and has the sequence number 0), at
    /// the ingress of the bridge or of the overlay device. Those that end one are none.
    Reset {
        /// Who refuses.
        source: IpAddr,
        /// Its port.
        port: u16,
        /// Who is refused.
        destination: IpAddr,
    },
    /// An ARP packet or neighbour advertisement at the bridge's ingress whose sender claims an
    /// address in a pod network of this node. What a bridge forwards from pod to pod is not seen,
    /// unless it is broadcast or multicast.
    Claim {
        /// The address.
        address: IpAddr,
        /// Who claims it.
        mac: MacAddress,
    },
}

/// An ICMP or ICMPv6 error and the packet that it quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IcmpError {
    /// Who sent it.
    pub sender: IpAddr,
    /// Whom it was sent to.
    pub receiver: IpAddr,
    /// ICMP or ICMPv6 type, by the addresses' IP version.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// The MTU that it names, for "fragmentation needed" and "packet too big"; else 0.
    pub mtu: u16,
    /// The quoted packet. Quoting VXLAN, this is the outer one. Its source port is 0, and so is the
    /// identifier of an echo.
    pub quoted: DropFlow,
}
