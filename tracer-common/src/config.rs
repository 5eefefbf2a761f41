//! What userspace tells the programs before they are loaded: one read-only global, so that the
//! verifier knows its values and removes what this node does not need.

use crate::address::Address;

/// Networks of one kind that fit, for each IP version.
pub const NETWORKS: usize = 8;
/// Addresses of the node itself that fit, in and outside the pod network, for each IP version.
pub const NODE_ADDRESSES: usize = 8;

/// The flag of a VXLAN header with a VNI (RFC 7348, section 5), as it lies in memory.
pub const HAS_VNI: u32 = 0x0800_0000_u32.to_be();
/// What belongs to a group policy in the first word (draft-smith-vxlan-group-policy-05).
const POLICY_BITS: u32 = 0x80ff_ffff_u32.to_be();
/// The reserved byte behind the VNI.
const VNI_RESERVED: u32 = 0xff_u32.to_be();

/// A network, in words as they lie in memory. The all-zero value holds no address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network<A> {
    address: A,
    mask: A,
}

/// What concerns one IP version. Addresses and the port as they lie in memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family<A> {
    pod_networks: [Network<A>; NETWORKS],
    own_pods: [Network<A>; NETWORKS],
    node_addresses: [A; NODE_ADDRESSES],
    tunnel_ends: [A; NODE_ADDRESSES],
    vni: u32,
    vxlan_port: u16,
    overlay_mtu: u16,
    mac_low: u32,
    mac_high: u16,
    carries_policies: u16,
}

/// Read-only configuration of the programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Pods with IPv4 addresses, and the overlay device that carries them.
    pub v4: Family<u32>,
    /// Pods with IPv6 addresses, and the overlay device that carries them.
    pub v6: Family<[u32; 4]>,
    dns_timeout: u32,
}

const _: () = {
    assert!(size_of::<Network<u32>>() == 8);
    assert!(size_of::<Family<u32>>() == 8 * 16 + 2 * 32 + 16);
    assert!(size_of::<Config>() == 208 + 32 * 16 + 2 * 128 + 16 + 4);
    assert!(align_of::<Config>() == 4);
};

impl<A: Address> Network<A> {
    const NONE: Self = Self { address: A::ZERO, mask: A::ZERO };

    /// The network of an address with this prefix length; `None` when the length is 0 or too
    /// long: the pod network is never the whole Internet.
    #[must_use]
    pub fn new(ip: A::Ip, prefix_length: u8) -> Option<Self> {
        let length = u32::from(prefix_length);
        if length == 0 || length > A::BITS {
            return None;
        }
        let mask = A::mask(length);
        Some(Self { address: A::of(ip).masked(mask), mask })
    }

    /// Whether `address` (as it lies in memory) is inside.
    #[inline(always)]
    #[must_use]
    pub fn contains(&self, address: A) -> bool {
        let (network, mask) = (load(&self.address), load(&self.mask));
        mask != A::ZERO && address.masked(mask) == network
    }
}

impl<A: Address> Family<A> {
    const NONE: Self = Self {
        pod_networks: [Network::NONE; NETWORKS],
        own_pods: [Network::NONE; NETWORKS],
        node_addresses: [A::ZERO; NODE_ADDRESSES],
        tunnel_ends: [A::ZERO; NODE_ADDRESSES],
        vni: 0,
        vxlan_port: 0,
        overlay_mtu: 0,
        mac_low: 0,
        mac_high: 0,
        carries_policies: 0,
    };

    /// Configuration for an overlay device: its VNI, UDP port and MTU in bytes.
    pub const fn set_tunnel(&mut self, vni: u32, vxlan_port: u16, overlay_mtu: u16) {
        self.vni = vni;
        self.vxlan_port = vxlan_port.to_be();
        self.overlay_mtu = overlay_mtu;
    }

    /// The overlay device's own MAC, and whether it carries group policies (`gbp`).
    pub const fn set_device(&mut self, mac: [u8; 6], carries_policies: bool) {
        let [a, b, c, d, e, f] = mac;
        self.mac_high = u16::from_ne_bytes([a, b]);
        self.mac_low = u32::from_ne_bytes([c, d, e, f]);
        self.carries_policies = carries_policies as u16;
    }

    /// Adds a network of the cluster's pods; false when there is no room left.
    pub fn add_pod_network(&mut self, network: Network<A>) -> bool {
        add(&mut self.pod_networks, network, Network::NONE)
    }

    /// Adds a pod network of this node; false when there is no room left.
    pub fn add_own_pods(&mut self, network: Network<A>) -> bool {
        add(&mut self.own_pods, network, Network::NONE)
    }

    /// Adds an address of the node that lies in the pod network and is no pod; false when there is
    /// no room left.
    pub fn add_node_address(&mut self, ip: A::Ip) -> bool {
        add(&mut self.node_addresses, A::of(ip), A::ZERO)
    }

    /// Adds an address at which this node's tunnel ends; false when there is no room left.
    pub fn add_tunnel_end(&mut self, ip: A::Ip) -> bool {
        add(&mut self.tunnel_ends, A::of(ip), A::ZERO)
    }

    /// Whether the cluster has pods of this IP version.
    #[inline(always)]
    #[must_use]
    pub fn is_used(&self) -> bool {
        load(&self.vxlan_port) != 0
    }

    /// Whether `address` is a pod's, anywhere in the cluster.
    #[inline(always)]
    #[must_use]
    pub fn is_pod(&self, address: A) -> bool {
        self.pod_networks.iter().any(|network| network.contains(address))
    }

    /// Whether `address` is a pod of this node.
    #[inline(always)]
    #[must_use]
    pub fn is_own_pod(&self, address: A) -> bool {
        self.own_pods.iter().any(|network| network.contains(address))
            && !self.node_addresses.iter().any(|own| load(own) == address)
    }

    /// Whether `address` is an end of this node's tunnel; true for any when none is known. A node
    /// that routes for others, or whose pods run a cluster of their own, sees their tunnels too.
    #[inline(always)]
    #[must_use]
    pub fn is_tunnel_end(&self, address: A) -> bool {
        load(&self.tunnel_ends[0]) == A::ZERO
            || self.tunnel_ends.iter().any(|end| load(end) == address)
    }

    /// Whether `address` is known to be the node's own.
    #[inline(always)]
    #[must_use]
    pub fn is_own(&self, address: A) -> bool {
        address != A::ZERO
            && (self.node_addresses.iter().any(|own| load(own) == address)
                || self.tunnel_ends.iter().any(|own| load(own) == address))
    }

    /// Whether `address` lies in a pod network of this node, whoever has it.
    #[inline(always)]
    #[must_use]
    pub fn is_in_own_network(&self, address: A) -> bool {
        self.own_pods.iter().any(|network| network.contains(address))
    }

    /// Whether a MAC is the overlay device's own: its first two octets and its last four, as they
    /// lie in memory.
    #[inline(always)]
    #[must_use]
    pub fn is_own_mac(&self, (high, low): (u16, u32)) -> bool {
        // The last four tell apart more than the first two. No device has a MAC of zeros, and it is
        // our own that is asked for them: the packet's word equals a constant by then, and before
        // Linux 6.5 a test of such a word, kept over a call, has the verifier tell apart every
        // constant before that call (kernel/bpf/verifier.c, backtrack_insn).
        low == load(&self.mac_low)
            && high == load(&self.mac_high)
            && (load(&self.mac_low) != 0 || load(&self.mac_high) != 0)
    }

    /// Whether the overlay device refuses a VXLAN header for its reserved bits: both words as they
    /// lie in memory. The flag of a VNI must be set, and nothing else but what it knows
    /// (drivers/net/vxlan/vxlan_core.c, vxlan_rcv, Linux 6.18).
    #[inline(always)]
    #[must_use]
    pub fn refuses_header(&self, [flags, vni]: [u32; 2]) -> bool {
        let known = if load(&self.carries_policies) == 0 { 0 } else { POLICY_BITS };
        ((flags ^ HAS_VNI) & !known) | (vni & VNI_RESERVED) != 0
    }

    /// MTU of the overlay device in bytes; 0 when unknown.
    #[inline(always)]
    #[must_use]
    pub fn overlay_mtu(&self) -> u16 {
        load(&self.overlay_mtu)
    }

    /// The VNI.
    #[inline(always)]
    #[must_use]
    pub fn vni(&self) -> u32 {
        load(&self.vni)
    }

    /// The tunnel's UDP port as it lies in memory.
    #[inline(always)]
    #[must_use]
    pub fn vxlan_port(&self) -> u16 {
        load(&self.vxlan_port)
    }
}

impl Config {
    /// Neither IP version is used.
    pub const NONE: Self = Self { v4: Family::NONE, v6: Family::NONE, dns_timeout: 0 };

    /// How long a DNS server may take for its answer, in milliseconds; with 0 nobody looks.
    pub const fn set_dns_timeout(&mut self, milliseconds: u32) {
        self.dns_timeout = milliseconds;
    }

    /// How long a DNS server may take for its answer, in nanoseconds.
    #[inline(always)]
    #[must_use]
    pub fn dns_timeout(&self) -> u64 {
        u64::from(load(&self.dns_timeout)) * 1_000_000
    }
}

/// Reads a field in the programs, whose initial value the loader replaces behind the compiler's
/// back. Hiding the whole value from the compiler instead would put a pointer to it on the stack,
/// which the verifier refuses to a process without CAP_PERFMON.
#[inline(always)]
fn load<T: Copy>(field: &T) -> T {
    // SAFETY: a reference is valid, aligned and initialised.
    unsafe { core::ptr::read_volatile(field) }
}

/// Puts `item` into the first free place.
fn add<T: PartialEq>(places: &mut [T], item: T, free: T) -> bool {
    match places.iter_mut().find(|place| **place == free) {
        Some(place) => {
            *place = item;
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn word(octets: [u8; 4]) -> u32 {
        u32::from_ne_bytes(octets)
    }

    fn network(octets: [u8; 4], length: u8) -> Option<Network<u32>> {
        Network::new(octets.into(), length)
    }

    fn family() -> Family<u32> {
        let mut family = Config::NONE.v4;
        family.set_tunnel(1, 8472, 1450);
        family
    }

    #[test]
    fn a_network_holds_exactly_its_addresses() {
        let ours = network([10, 244, 3, 77], 24).unwrap();
        assert!(ours.contains(word([10, 244, 3, 0])));
        assert!(ours.contains(word([10, 244, 3, 255])));
        assert!(!ours.contains(word([10, 244, 4, 0])));
        assert!(!Network::<u32>::NONE.contains(word([0, 0, 0, 0])));
        assert_eq!(network([10, 0, 0, 0], 0), None);
        assert_eq!(network([10, 0, 0, 0], 33), None);
    }

    #[test]
    fn a_network_of_version_6_ends_inside_a_word() {
        let ip = |text: &str| text.parse::<Ipv6Addr>().unwrap();
        let ours = Network::<[u32; 4]>::new(ip("fd00:10:244:3::9"), 56).unwrap();
        assert!(ours.contains(Address::of(ip("fd00:10:244:ff:1::1"))));
        assert!(!ours.contains(Address::of(ip("fd00:10:244:100::1"))));
        assert!(!Network::<[u32; 4]>::NONE.contains(Address::of(ip("::"))));
    }

    #[test]
    fn a_ninth_network_is_refused() {
        let mut family = family();
        for i in 0..8 {
            assert!(family.add_pod_network(network([10, i, 0, 0], 16).unwrap()));
        }
        assert!(!family.add_pod_network(network([10, 9, 0, 0], 16).unwrap()));
        assert!(family.is_pod(word([10, 7, 1, 1])));
        assert!(!family.is_pod(word([10, 8, 1, 1])));
    }

    #[test]
    fn the_nodes_own_addresses_are_no_pods() {
        let mut family = family();
        assert!(family.add_own_pods(network([10, 244, 1, 0], 24).unwrap()));
        assert!(family.add_node_address(Ipv4Addr::new(10, 244, 1, 0)));
        assert!(family.add_node_address(Ipv4Addr::new(10, 244, 1, 1)));
        assert!(!family.is_own_pod(word([10, 244, 1, 0])));
        assert!(!family.is_own_pod(word([10, 244, 1, 1])));
        assert!(family.is_own_pod(word([10, 244, 1, 2])));
        assert_eq!(family.vxlan_port().to_ne_bytes(), [0x21, 0x18]);
        assert!(family.is_tunnel_end(word([192, 0, 2, 9])), "none named: any");
        assert!(family.add_tunnel_end(Ipv4Addr::new(192, 0, 2, 1)));
        assert!(!family.is_tunnel_end(word([192, 0, 2, 9])));
        assert!(family.is_used() && !Config::NONE.v6.is_used());
    }

    #[test]
    fn only_a_known_address_is_the_nodes_own() {
        let mut family = family();
        assert!(!family.is_own(word([192, 0, 2, 1])), "none named: none");
        assert!(family.add_tunnel_end(Ipv4Addr::new(192, 0, 2, 1)));
        assert!(family.add_node_address(Ipv4Addr::new(10, 244, 1, 1)));
        assert!(family.is_own(word([192, 0, 2, 1])) && family.is_own(word([10, 244, 1, 1])));
        assert!(!family.is_own(word([192, 0, 2, 2])) && !family.is_own(0));
    }

    #[test]
    fn a_mac_is_own_when_all_of_it_is() {
        let mut family = family();
        let mac = |octets: [u8; 6]| {
            let [a, b, c, d, e, f] = octets;
            (u16::from_ne_bytes([a, b]), u32::from_ne_bytes([c, d, e, f]))
        };
        assert!(!family.is_own_mac((0, 0)), "unknown is nobody's");
        family.set_device([2, 1, 3, 4, 5, 6], false);
        assert!(family.is_own_mac(mac([2, 1, 3, 4, 5, 6])));
        assert!(!family.is_own_mac(mac([2, 1, 3, 4, 5, 7])));
        assert!(!family.is_own_mac(mac([2, 2, 3, 4, 5, 6])));
    }

    #[test]
    fn a_device_refuses_bits_that_it_does_not_know() {
        let header = |flags: u32, vni: u32| [flags.to_be(), vni.to_be()];
        let mut family = family();
        assert!(!family.refuses_header(header(0x0800_0000, 0x0001_0100)));
        for (flags, vni) in
            [(0, 0x100), (0x8800_0007, 0x100), (0x0800_0001, 0x100), (0x0800_0000, 0x101)]
        {
            assert!(family.refuses_header(header(flags, vni)), "{flags:x} {vni:x}");
        }
        family.set_device([2, 0, 0, 0, 0, 1], true);
        assert!(!family.refuses_header(header(0x8800_0007, 0x100)), "a group policy");
        assert!(family.refuses_header(header(0x8000_0007, 0x100)));
        assert!(family.refuses_header(header(0x8c00_0007, 0x100)));
    }
}
