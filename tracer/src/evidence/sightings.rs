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

/// What was seen. Addresses "outer" are those of nodes, "inner" those of pods.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sight {
    /// An ICMP or ICMPv6 error: destination unreachable, packet too big, time exceeded.
    IcmpError(IcmpError),
    /// VXLAN to the tunnel's port, but of another VNI, at an uplink's ingress.
    OtherVni {
        /// Outer source.
        source: IpAddr,
        /// The VNI in the packet.
        vni: u32,
    },
    /// A datagram at an uplink's ingress, from a tunnel end that tables know, to another of VXLAN's
    /// usual ports (8472, 4789), with a VXLAN header.
    OtherPort {
        /// Outer source.
        source: IpAddr,
        /// Destination port of the datagram.
        port: u16,
        /// The VNI in it.
        vni: u32,
    },
    /// VXLAN to the tunnel's port whose flags this node's device refuses, at an uplink's ingress.
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
    /// A later or first fragment of an outer datagram between tunnel ends, at an uplink's egress.
    OuterFragment {
        /// Outer destination.
        destination: IpAddr,
    },
    /// The opening packet of a pod's connection to an address outside the cluster (a TCP SYN),
    /// leaving an uplink with the pod's own address.
    Unmasqueraded {
        /// The pod.
        source: IpAddr,
        /// Where to.
        destination: IpAddr,
        /// Destination port.
        port: u16,
    },
    /// A TCP reset at the bridge or the overlay device.
    Reset {
        /// Who refuses.
        source: IpAddr,
        /// Its port.
        port: u16,
        /// Who is refused.
        destination: IpAddr,
    },
    /// An ARP packet or neighbour advertisement at the bridge that claims an address.
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
    /// The quoted packet. Quoting VXLAN, this is the outer one: its source port says nothing, and is
    /// 0.
    pub quoted: DropFlow,
}
