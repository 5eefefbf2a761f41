//! Which changes of the tables concern flannel. Pure.

use std::net::IpAddr;

use crate::{
    netlink::Change,
    topology::{TABLE_LOCAL, Topologies},
};
use ipnet::IpNet;

/// The devices that play a part, and the peers.
#[derive(Debug, Default)]
pub struct Parts {
    /// Number and name, present and former.
    devices: Vec<(u32, String)>,
    overlays: Vec<u32>,
    peers: Vec<(IpNet, Option<IpAddr>)>,
}

impl Parts {
    /// Takes over who plays a part now.
    pub fn take_over(&mut self, topologies: &Topologies<'_>) {
        self.overlays = topologies.overlays().map(|link| link.index).collect();
        self.peers = topologies.peers().map(|peer| (peer.cidr, peer.node_ip)).collect();
        let devices = topologies.overlays().chain(topologies.bridge());
        for link in devices.chain(topologies.uplinks().iter().copied()) {
            self.devices.retain(|(index, name)| *index != link.index && *name != link.name);
            self.devices.push((link.index, link.name.clone()));
        }
    }

    /// Whether a change concerns flannel: its device, the bridge, the uplinks, the peers. What the
    /// neighbours on a LAN and the pods of a node do all day does not.
    pub fn concern(&self, change: &Change) -> bool {
        let plays_one = |index| self.name(index).is_some();
        match change {
            Change::Link(link) => {
                let is_it =
                    |(index, name): &(u32, String)| *index == link.index || *name == link.name;
                link.vxlan.is_some() || self.devices.iter().any(is_it)
            }
            Change::LinkGone(index) => plays_one(*index),
            Change::Address(it) | Change::AddressGone(it) => plays_one(it.ifindex),
            Change::Rule(_) | Change::RuleGone(_) => true,
            Change::Route { route, .. } | Change::RouteGone(route) => {
                let of_a_peer = |(cidr, _): &(IpNet, _)| cidr.contains(&route.destination);
                route.table != TABLE_LOCAL
                    && (change.device().is_some_and(plays_one) || self.peers.iter().any(of_a_peer))
            }
            Change::Neighbour(it) | Change::NeighbourGone(it) => {
                let is_a_peer = |(_, node): &(IpNet, _)| *node == Some(it.address);
                self.overlays.contains(&it.ifindex) || self.peers.iter().any(is_a_peer)
            }
            Change::Fdb(it) | Change::FdbGone(it) => plays_one(it.ifindex),
        }
    }

    /// The name of a device that plays or played a part.
    pub fn name(&self, index: u32) -> Option<String> {
        self.devices.iter().find(|(known, _)| *known == index).map(|(_, name)| name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnose::testing::{BRIDGE, OVERLAY, Pass, Plan, UPLINK, VETH},
        evidence::{Evidence, Neighbour, NeighbourState, Tables},
    };

    /// The tables, and the parts before them and after `change`.
    fn after(change: impl Fn(&mut Tables)) -> (Evidence, Parts) {
        let mut evidence = Plan::of(3, Pass::Tables).evidence();
        let mut parts = Parts::default();
        parts.take_over(&Topologies::of(&evidence));
        change(evidence.tables.as_mut().unwrap());
        parts.take_over(&Topologies::of(&evidence));
        (evidence, parts)
    }

    fn neighbour(ifindex: u32, address: IpAddr) -> Change {
        let state = NeighbourState::Failed;
        let (mac, updated_age, confirmed_age) = (None, None, None);
        Change::Neighbour(Neighbour { ifindex, address, mac, state, updated_age, confirmed_age })
    }

    #[test]
    fn entries_of_flannels_device_concern_it_and_those_of_pods_do_not() {
        let (evidence, parts) = after(|_| {});
        let tables = evidence.tables.unwrap();
        let routes =
            |index| tables.routes.iter().filter(move |it| crate::topology::leaves_by(it, index));
        let of_overlay = routes(OVERLAY).find(|it| it.table != TABLE_LOCAL).unwrap();
        assert!(parts.concern(&Change::RouteGone(of_overlay.clone())));
        assert!(parts.concern(&Change::FdbGone(tables.fdb[0].clone())));
        assert!(parts.concern(&Change::LinkGone(OVERLAY)));
        let pod: IpAddr = "10.244.1.7".parse().unwrap();
        assert!(!parts.concern(&neighbour(BRIDGE, pod)));
        assert!(!parts.concern(&Change::LinkGone(VETH)));
    }

    #[test]
    fn of_the_neighbours_on_the_lan_only_peers_concern_it() {
        let plan = Plan::of(3, Pass::Tables);
        let (_, parts) = after(|_| {});
        assert!(parts.concern(&neighbour(UPLINK, plan.node_ip(plan.hit()))));
        assert!(!parts.concern(&neighbour(UPLINK, plan.gateway())));
    }

    #[test]
    fn a_device_that_is_gone_keeps_its_name_and_one_that_comes_back_takes_it_over() {
        let (_, parts) = after(|tables| tables.links.retain(|it| it.index != OVERLAY));
        assert_eq!(parts.name(OVERLAY).as_deref(), Some("flannel.1"));
        let (_, parts) = after(|tables| {
            tables.links.iter_mut().filter(|it| it.index == BRIDGE).for_each(|it| it.index = 99);
            tables
                .addresses
                .iter_mut()
                .filter(|it| it.ifindex == BRIDGE)
                .for_each(|it| it.ifindex = 99);
        });
        assert_eq!(parts.name(BRIDGE).as_deref(), Some("cni0"));
    }
}
