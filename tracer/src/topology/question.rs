//! Which routes the kernel is to be asked for.

use std::net::IpAddr;

use super::{Topology, nth_address};
use crate::evidence::{Intent, Origin, Roles, Tables};

/// Which address of a CIDR stands for its pods: the first is the overlay device's, the second
/// the bridge's.
const POD: u32 = 2;

/// One route to ask the kernel for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The address that a packet would go to.
    pub destination: IpAddr,
    /// As whose packet.
    pub origin: Origin,
    /// The device by which a forwarded packet comes in (an ifindex).
    pub iif: Option<u32>,
    /// The source address of a forwarded packet.
    pub source: Option<IpAddr>,
}

/// The questions for a node: one address of each peer's CIDR, from the pods and from the node,
/// and each peer's node address.
#[must_use]
pub fn questions(tables: &Tables, intent: &Intent, roles: &Roles) -> Vec<Question> {
    Topology::from_parts(Some(tables), intent, roles, None).questions()
}

impl Topology<'_> {
    /// The questions for this topology's peers, see [`questions`]; with traffic also for the
    /// peers that only packets told of.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        let mut questions = Vec::new();
        for peer in &self.peers {
            let pod = nth_address(peer.cidr, POD);
            questions.extend(self.of_pods(pod));
            questions.push(of_node(pod));
        }
        for node_ip in self.node_addresses() {
            questions.push(of_node(node_ip));
        }
        questions
    }

    /// Without a working bridge no pod can send, and the kernel refuses to answer for it.
    fn of_pods(&self, destination: IpAddr) -> Option<Question> {
        let bridge = self.bridge.filter(|bridge| bridge.up)?;
        let own =
            self.own_cidrs.iter().find(|own| own.addr().is_ipv4() == destination.is_ipv4())?;
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
