//! What userspace tells the programs before they are loaded: one read-only global, so that the
//! verifier knows its values and removes what this node does not need.

/// Networks of one kind that fit.
pub const NETWORKS: usize = 8;
/// Addresses of the node itself that fit, in and outside the pod network.
pub const NODE_ADDRESSES: usize = 8;

/// An IPv4 network, in words as they lie in memory. The all-zero value holds no address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network4 {
    address: u32,
    mask: u32,
}

/// Read-only configuration of the programs. Addresses and the port as they lie in memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    pod_networks: [Network4; NETWORKS],
    own_pods: [Network4; NETWORKS],
    node_addresses: [u32; NODE_ADDRESSES],
    tunnel_ends: [u32; NODE_ADDRESSES],
    vni: u32,
    vxlan_port: u16,
    overlay_mtu: u16,
}

const _: () = {
    assert!(size_of::<Network4>() == 8);
    assert!(size_of::<Config>() == 8 * 16 + 2 * 32 + 8);
    assert!(align_of::<Config>() == 4);
};

impl Network4 {
    /// The network of `address` (network byte order) with this prefix length; `None` when the
    /// length is 0 or above 32: the pod network is never the whole Internet.
    #[must_use]
    pub const fn new(address: [u8; 4], prefix_length: u8) -> Option<Self> {
        if prefix_length == 0 || prefix_length > 32 {
            return None;
        }
        let mask = u32::MAX << (32 - prefix_length as u32);
        let address = u32::from_be_bytes(address) & mask;
        Some(Self { address: address.to_be(), mask: mask.to_be() })
    }

    /// Whether `address` (as it lies in memory) is inside.
    #[inline(always)]
    #[must_use]
    pub const fn contains(&self, address: u32) -> bool {
        self.mask != 0 && address & self.mask == self.address
    }
}

impl Config {
    /// Configuration for one overlay device: its VNI, UDP port and MTU in bytes.
    #[must_use]
    pub const fn new(vni: u32, vxlan_port: u16, overlay_mtu: u16) -> Self {
        let none = Network4 { address: 0, mask: 0 };
        Self {
            pod_networks: [none; NETWORKS],
            own_pods: [none; NETWORKS],
            node_addresses: [0; NODE_ADDRESSES],
            tunnel_ends: [0; NODE_ADDRESSES],
            vni,
            vxlan_port: vxlan_port.to_be(),
            overlay_mtu,
        }
    }

    /// Adds a network of the cluster's pods; false when there is no room left.
    pub fn add_pod_network(&mut self, network: Network4) -> bool {
        add(&mut self.pod_networks, network)
    }

    /// Adds a pod network of this node; false when there is no room left.
    pub fn add_own_pods(&mut self, network: Network4) -> bool {
        add(&mut self.own_pods, network)
    }

    /// Adds an address that lies in a pod network of this node but is the node's own (of the
    /// overlay device or the bridge); false when there is no room left.
    pub fn add_node_address(&mut self, address: [u8; 4]) -> bool {
        add(&mut self.node_addresses, u32::from_ne_bytes(address))
    }

    /// Adds an address to which peers may send VXLAN; false when there is no room left.
    pub fn add_tunnel_end(&mut self, address: [u8; 4]) -> bool {
        add(&mut self.tunnel_ends, u32::from_ne_bytes(address))
    }

    /// Whether `address` is a pod's, anywhere in the cluster.
    #[inline(always)]
    #[must_use]
    pub fn is_pod(&self, address: u32) -> bool {
        self.pod_networks.iter().any(|network| network.contains(address))
    }

    /// Whether `address` is a pod of this node.
    #[inline(always)]
    #[must_use]
    pub fn is_own_pod(&self, address: u32) -> bool {
        self.own_pods.iter().any(|network| network.contains(address))
            && !self.node_addresses.contains(&address)
    }

    /// Whether VXLAN sent to `address` is for this node; true for any address when none is named.
    /// A node that routes for others sees their tunnels too.
    #[inline(always)]
    #[must_use]
    pub fn is_tunnel_end(&self, address: u32) -> bool {
        self.tunnel_ends[0] == 0 || self.tunnel_ends.contains(&address)
    }

    /// MTU of the overlay device in bytes; 0 when unknown.
    #[inline(always)]
    #[must_use]
    pub const fn overlay_mtu(&self) -> u16 {
        self.overlay_mtu
    }

    /// The VNI.
    #[inline(always)]
    #[must_use]
    pub const fn vni(&self) -> u32 {
        self.vni
    }

    /// The tunnel's UDP port as it lies in memory.
    #[inline(always)]
    #[must_use]
    pub const fn vxlan_port(&self) -> u16 {
        self.vxlan_port
    }
}

/// Puts `item` into the first all-default place.
fn add<T: Copy + Default + PartialEq>(places: &mut [T], item: T) -> bool {
    match places.iter_mut().find(|place| **place == T::default()) {
        Some(place) => {
            *place = item;
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(octets: [u8; 4]) -> u32 {
        u32::from_ne_bytes(octets)
    }

    #[test]
    fn a_network_holds_exactly_its_addresses() {
        let network = Network4::new([10, 244, 3, 77], 24).unwrap();
        assert!(network.contains(word([10, 244, 3, 0])));
        assert!(network.contains(word([10, 244, 3, 255])));
        assert!(!network.contains(word([10, 244, 4, 0])));
        assert!(!Network4::default().contains(word([0, 0, 0, 0])));
        assert_eq!(Network4::new([10, 0, 0, 0], 0), None);
        assert_eq!(Network4::new([10, 0, 0, 0], 33), None);
    }

    #[test]
    fn a_ninth_network_is_refused() {
        let mut config = Config::new(1, 8472, 1450);
        for i in 0..8 {
            assert!(config.add_pod_network(Network4::new([10, i, 0, 0], 16).unwrap()));
        }
        assert!(!config.add_pod_network(Network4::new([10, 9, 0, 0], 16).unwrap()));
        assert!(config.is_pod(word([10, 7, 1, 1])));
        assert!(!config.is_pod(word([10, 8, 1, 1])));
    }

    #[test]
    fn the_nodes_own_addresses_are_no_pods() {
        let mut config = Config::new(1, 8472, 1450);
        assert!(config.add_own_pods(Network4::new([10, 244, 1, 0], 24).unwrap()));
        assert!(config.add_node_address([10, 244, 1, 0]));
        assert!(config.add_node_address([10, 244, 1, 1]));
        assert!(!config.is_own_pod(word([10, 244, 1, 0])));
        assert!(!config.is_own_pod(word([10, 244, 1, 1])));
        assert!(config.is_own_pod(word([10, 244, 1, 2])));
        assert_eq!(config.vxlan_port().to_ne_bytes(), [0x21, 0x18]);
        assert!(config.is_tunnel_end(word([192, 0, 2, 9])), "none named: any");
        assert!(config.add_tunnel_end([192, 0, 2, 1]));
        assert!(!config.is_tunnel_end(word([192, 0, 2, 9])));
    }
}
