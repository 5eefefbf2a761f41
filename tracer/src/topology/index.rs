//! What is looked up for every peer, by its key: a cluster may have thousands of peers, and as many
//! entries in each table.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
};

use ipnet::IpNet;

use super::{TABLE_MAIN, Topology};
use crate::evidence::{
    FdbEntry, MacAddress, Neighbour, Origin, PeerIntent, PeerTraffic, Route, RouteKind,
    RouteOutcome,
};

/// Where several entries have the same key, the first of the table is found.
#[derive(Debug, Default)]
pub(super) struct Index<'a> {
    intents: HashMap<IpNet, &'a PeerIntent>,
    traffic: HashMap<IpNet, &'a PeerTraffic>,
    overlay_routes: HashMap<IpNet, &'a Route>,
    unicast_routes: HashMap<IpNet, Vec<&'a Route>>,
    neighbours: HashMap<IpAddr, &'a Neighbour>,
    fdb: HashMap<MacAddress, &'a FdbEntry>,
    /// The MACs of the peers, as their neighbour entries and the intent have them.
    macs: HashSet<MacAddress>,
    of_pods: Answers<'a>,
    of_node: Answers<'a>,
}

/// The kernel's answers by the address that was asked for, each with its place in the list.
type Answers<'a> = BTreeMap<IpAddr, (usize, &'a RouteOutcome)>;

impl<'a> Index<'a> {
    pub(super) fn of(topology: &Topology<'a>) -> Self {
        let mut index = Self::default();
        for peer in &topology.intent.peers {
            index.intents.entry(peer.pod_cidr.trunc()).or_insert(peer);
        }
        index.macs.extend(topology.intended().filter_map(|peer| peer.vtep_mac));
        index.macs.extend(topology.overlay_neighbours().filter_map(|entry| entry.mac));
        for traffic in topology.traffic.iter().flat_map(|traffic| &traffic.peers) {
            index.traffic.entry(traffic.cidr).or_insert(traffic);
        }
        for route in topology.overlay_routes().filter(|route| route.table == TABLE_MAIN) {
            index.overlay_routes.entry(route.destination.trunc()).or_insert(route);
        }
        for entry in topology.overlay_fdb() {
            index.fdb.entry(entry.mac).or_insert(entry);
        }
        index.read_tables(topology);
        index
    }

    fn read_tables(&mut self, topology: &Topology<'a>) {
        let Some(tables) = topology.tables else { return };
        let overlay = topology.overlay.map(|overlay| overlay.index);
        for entry in tables.neighbours.iter().filter(|entry| Some(entry.ifindex) == overlay) {
            self.neighbours.entry(entry.address).or_insert(entry);
        }
        let is_unicast =
            |route: &&Route| route.table == TABLE_MAIN && route.kind == RouteKind::Unicast;
        for route in tables.routes.iter().filter(is_unicast) {
            self.unicast_routes.entry(route.destination.trunc()).or_default().push(route);
        }
        for (place, answer) in tables.answers.iter().enumerate() {
            let answers = match answer.origin {
                Origin::Pods => &mut self.of_pods,
                Origin::Node => &mut self.of_node,
            };
            answers.entry(answer.destination).or_insert((place, &answer.outcome));
        }
    }

    pub(super) fn intent(&self, cidr: IpNet) -> Option<&'a PeerIntent> {
        self.intents.get(&cidr).copied()
    }

    pub(super) fn traffic(&self, cidr: IpNet) -> Option<&'a PeerTraffic> {
        self.traffic.get(&cidr).copied()
    }

    /// The route to exactly this CIDR by the overlay device in table main.
    pub(super) fn overlay_route(&self, cidr: IpNet) -> Option<&'a Route> {
        self.overlay_routes.get(&cidr).copied()
    }

    /// All unicast routes to exactly this CIDR in table main.
    pub(super) fn unicast_routes(&self, cidr: IpNet) -> impl Iterator<Item = &'a Route> {
        self.unicast_routes.get(&cidr).into_iter().flatten().copied()
    }

    /// The overlay device's neighbour entry for an address, resolved or not.
    pub(super) fn neighbour(&self, address: IpAddr) -> Option<&'a Neighbour> {
        self.neighbours.get(&address).copied()
    }

    pub(super) fn fdb(&self, mac: MacAddress) -> Option<&'a FdbEntry> {
        self.fdb.get(&mac).copied()
    }

    /// Whether an entry or the intent gives this MAC to a peer.
    pub(super) fn is_given(&self, mac: MacAddress) -> bool {
        self.macs.contains(&mac)
    }

    /// What the kernel answered for an address of this CIDR.
    pub(super) fn answer(&self, cidr: IpNet, origin: Origin) -> Option<&'a RouteOutcome> {
        let answers = match origin {
            Origin::Pods => &self.of_pods,
            Origin::Node => &self.of_node,
        };
        let inside = answers.range(cidr.network()..=cidr.broadcast());
        inside.map(|(_, answer)| *answer).min_by_key(|(place, _)| *place).map(|(_, it)| it)
    }
}
