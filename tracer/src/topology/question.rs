//! Which routes the kernel is to be asked for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Topology, nth_address};
use crate::evidence::{Family, Origin};

/// Which address of a CIDR stands for its pods: the first is the overlay device's, the second
/// the bridge's.
const POD: u32 = 2;

/// Addresses that only a default route reaches: of networks for documentation, which nobody has
/// (RFC 5737 and 3849). Two, because somebody may have a route for one of them all the same.
const OUTSIDE_V4: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1))];
const OUTSIDE_V6: [IpAddr; 2] = [
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x8000, 0, 0, 0, 0, 1)),
];

/// One route to ask the kernel for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The address that a packet would go to.
    pub destination: IpAddr,
    /// As whose packet.
    pub origin: Origin,
    /// The device by which a forwarded packet comes in (an ifindex).
    pub iif: Option<u32>,
    /// The source address of a forwarded packet, or of the tunnel's outer packets.
    pub source: Option<IpAddr>,
}

impl Topology<'_> {
    /// The questions for one IP version, see [`super::Topologies::questions`].
    pub(super) fn questions(&self) -> Vec<Question> {
        let mut questions = Vec::new();
        for peer in &self.peers {
            let pod = nth_address(peer.cidr, POD);
            questions.extend(self.of_pods(pod));
            questions.push(of_node(pod));
        }
        questions.extend(self.node_addresses().into_iter().map(|node| self.of_tunnel(node)));
        for outside in self.outside() {
            questions.extend(self.of_pods(outside));
            questions.push(of_node(outside));
        }
        questions
    }

    /// Addresses outside the cluster.
    #[must_use]
    pub const fn outside(&self) -> [IpAddr; 2] {
        match self.family {
            Family::V4 => OUTSIDE_V4,
            Family::V6 => OUTSIDE_V6,
        }
    }

    /// Outer packets leave with the overlay device's local address, by which rules may choose
    /// another route. The kernel refuses to answer for a source that is not its own.
    fn of_tunnel(&self, destination: IpAddr) -> Question {
        let local = self.overlay.and_then(|overlay| overlay.vxlan.as_ref()?.local);
        let is_usable = |local: &IpAddr| {
            local.is_ipv4() == destination.is_ipv4()
                && self.tables.is_some_and(|tables| tables.takes_packets_to(*local))
        };
        Question { source: local.filter(is_usable), ..of_node(destination) }
    }

    /// Without a working bridge no pod can send, and the kernel refuses to answer for it.
    fn of_pods(&self, destination: IpAddr) -> Option<Question> {
        let bridge = self.bridge.filter(|bridge| bridge.up)?;
        let own =
            self.own_cidrs.iter().find(|own| Family::of_net(**own) == Family::of(destination))?;
        let source = Some(nth_address(*own, POD));
        Some(Question { destination, origin: Origin::Pods, iif: Some(bridge.index), source })
    }

    /// Node addresses of all peers, those included that only an FDB entry names.
    fn node_addresses(&self) -> Vec<IpAddr> {
        let of_peers = self.peers.iter().filter_map(|peer| peer.node_ip);
        let of_fdb = self.overlay_fdb().filter_map(|entry| entry.destination);
        let mut addresses: Vec<IpAddr> = of_peers.chain(of_fdb).collect();
        addresses.sort();
        addresses.dedup();
        addresses
    }
}

const fn of_node(destination: IpAddr) -> Question {
    Question { destination, origin: Origin::Node, iif: None, source: None }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use crate::{
        diagnose::testing::{Pass, Plan, UPLINK, tables},
        evidence::Evidence,
        topology::Topologies,
    };

    fn sources(evidence: &Evidence, destination: IpAddr) -> Vec<Option<IpAddr>> {
        let questions = Topologies::of(evidence).questions();
        questions.iter().filter(|it| it.destination == destination).map(|it| it.source).collect()
    }

    #[test]
    fn nodes_are_asked_for_with_the_tunnels_own_address() {
        let plan = Plan::of(2, Pass::Tables);
        let mut evidence = plan.evidence();
        let node = plan.node_ip(plan.hit());
        assert_eq!(sources(&evidence, node), [Some(plan.node_ip(plan.own))]);
        tables(&mut evidence).addresses.retain(|it| it.ifindex != UPLINK);
        assert_eq!(sources(&evidence, node), [None], "an address that this node lost");
    }
}
