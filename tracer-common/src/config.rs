//! What userspace tells the programs before they are loaded: one read-only global, so that the
//! verifier knows its values and removes what this node does not need.

use crate::address::Address;

/// Networks of one kind that fit, for each IP version.
pub const NETWORKS: usize = 8;
/// Addresses of the node itself that fit, in and outside the pod network, for each IP version.
pub const NODE_ADDRESSES: usize = 8;

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
}

/// Read-only configuration of the programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Pods with IPv4 addresses, and the overlay device that carries them.
    pub v4: Family<u32>,
    /// Pods with IPv6 addresses, and the overlay device that carries them.
    pub v6: Family<[u32; 4]>,
}

const _: () = {
    assert!(size_of::<Network<u32>>() == 8);
    assert!(size_of::<Family<u32>>() == 8 * 16 + 2 * 32 + 8);
    assert!(size_of::<Config>() == 200 + 32 * 16 + 2 * 128 + 8);
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
    };

    /// Configuration for an overlay device: its VNI, UDP port and MTU in bytes.
    pub const fn set_tunnel(&mut self, vni: u32, vxlan_port: u16, overlay_mtu: u16) {
        self.vni = vni;
        self.vxlan_port = vxlan_port.to_be();
        self.overlay_mtu = overlay_mtu;
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
    pub const NONE: Self = Self { v4: Family::NONE, v6: Family::NONE };
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
}
