//! The tables as notifications change them: pure.
//!
//! The kernel tells of a change by the entry as it is now, or as it was. What it does not tell is
//! noted in [`Followed::routes_are_stale`].

mod change;

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

pub use self::change::{Action, Change, Table};
use crate::evidence::{Address, FdbEntry, Link, MacAddress, Neighbour, Route, Rule, Tables};

/// Routes to one destination in one table, by metric.
type RouteKey = (u32, IpNet);
/// A unicast MAC has one remote; the default entry and multicast MACs may have several.
type FdbKey = (u32, MacAddress, Option<IpAddr>);

/// All tables at one instant, to be changed by notifications. Ages inside are those at the time
/// of [`Followed::new`]: younger entries have negative ones.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Followed {
    links: BTreeMap<u32, Link>,
    addresses: Vec<Address>,
    rules: Vec<Rule>,
    routes: BTreeMap<RouteKey, Vec<Route>>,
    neighbours: BTreeMap<(u32, IpAddr), Neighbour>,
    fdb: BTreeMap<FdbKey, FdbEntry>,
    skipped_messages: u64,
    routes_are_stale: bool,
}

// === impl Followed ===

impl Followed {
    /// The tables of a dump.
    #[must_use]
    pub fn new(tables: Tables) -> Self {
        let mut followed = Self {
            addresses: tables.addresses,
            skipped_messages: tables.skipped_messages,
            links: tables.links.into_iter().map(|link| (link.index, link)).collect(),
            ..Self::default()
        };
        followed.set_routes(tables.rules, tables.routes);
        for entry in tables.neighbours {
            followed.neighbours.insert((entry.ifindex, entry.address), entry);
        }
        for entry in tables.fdb {
            followed.fdb.insert(fdb_key(&entry), entry);
        }
        followed
    }

    /// The tables `elapsed` seconds after [`Followed::new`], without answers, forwarding and sockets:
    /// of these no notification tells.
    #[must_use]
    pub fn tables(&self, elapsed: f64) -> Tables {
        let aged = |age: &mut Option<f64>| *age = age.map(|age| (age + elapsed).max(0.0));
        let mut tables = Tables {
            links: self.links.values().cloned().collect(),
            addresses: self.addresses.clone(),
            forwarding: Vec::new(),
            rules: self.rules.clone(),
            routes: self.routes.values().flatten().cloned().collect(),
            neighbours: self.neighbours.values().cloned().collect(),
            fdb: self.fdb.values().cloned().collect(),
            udp_sockets: Vec::new(),
            answers: Vec::new(),
            skipped_messages: self.skipped_messages,
        };
        tables.addresses.iter_mut().for_each(|entry| aged(&mut entry.created_age));
        tables.fdb.iter_mut().for_each(|entry| aged(&mut entry.updated_age));
        for entry in &mut tables.neighbours {
            aged(&mut entry.updated_age);
            aged(&mut entry.confirmed_age);
        }
        tables
    }

    /// The device with this number.
    #[must_use]
    pub fn link(&self, index: u32) -> Option<&Link> {
        self.links.get(&index)
    }

    /// Whether rules and routes have to be dumped again. The kernel removes routes silently with
    /// their device or source address (net/ipv4/fib_frontend.c, fib_disable_ip and
    /// fib_del_ifaddr, 5.10 to 6.18); a notification of a multipath or IPv6 route does not always
    /// tell which entry it replaces; two rules may look the same to evidence.
    #[must_use]
    pub const fn routes_are_stale(&self) -> bool {
        self.routes_are_stale
    }

    /// Takes over the rules and routes of a new dump, and says how the routes differ from those
    /// that were known: the kernel did not tell of it.
    pub fn set_routes(&mut self, rules: Vec<Rule>, routes: Vec<Route>) -> Vec<(Change, Action)> {
        let mut by_key: BTreeMap<RouteKey, Vec<Route>> = BTreeMap::new();
        for route in routes {
            by_key.entry((route.table, route.destination)).or_default().push(route);
        }
        let before = std::mem::replace(&mut self.routes, by_key);
        self.rules = rules;
        self.routes_are_stale = false;
        let gone = missing(&before, &self.routes)
            .map(|route| (Change::RouteGone(route.clone()), Action::Deleted));
        let new = missing(&self.routes, &before)
            .map(|route| (Change::Route { route: route.clone(), replaces: false }, Action::Added));
        gone.chain(new).collect()
    }

    /// Applies a notification that came `elapsed` seconds after [`Followed::new`]. `None` when it
    /// brought nothing new.
    pub fn apply(&mut self, change: Change, elapsed: f64) -> Option<Action> {
        match change {
            Change::Link(link) => self.put_link(link),
            Change::LinkGone(index) => self.remove_link(index),
            Change::Address(address) => self.put_address(address, elapsed),
            Change::AddressGone(address) => self.remove_address(&address),
            Change::Rule(rule) => self.put_rule(rule),
            Change::RuleGone(rule) => self.remove_rule(&rule),
            Change::Route { route, replaces } => self.put_route(route, replaces),
            Change::RouteGone(route) => self.remove_route(&route),
            Change::Neighbour(mut entry) => {
                entry.updated_age = entry.updated_age.map(|age| age - elapsed);
                entry.confirmed_age = entry.confirmed_age.map(|age| age - elapsed);
                let key = (entry.ifindex, entry.address);
                put(&mut self.neighbours, key, entry, |a, b| (a.mac, a.state) == (b.mac, b.state))
            }
            Change::NeighbourGone(entry) => {
                let key = (entry.ifindex, entry.address);
                self.neighbours.remove(&key).map(|_| Action::Deleted)
            }
            Change::Fdb(entry) => self.put_fdb(entry, elapsed),
            Change::FdbGone(entry) => self.fdb.remove(&fdb_key(&entry)).map(|_| Action::Deleted),
        }
    }

    fn put_link(&mut self, mut link: Link) -> Option<Action> {
        self.routes_are_stale = true;
        // The kernel tells of a new MTU before IPv6 takes it over (net/ipv6/addrconf.c,
        // addrconf_notify, is called behind net/core/rtnetlink.c, rtnetlink_event; Linux 6.18).
        if self.links.get(&link.index).is_some_and(|known| known.mtu != link.mtu) {
            link.mtu6 = None;
        }
        put(&mut self.links, link.index, link, |a, b| a == b)
    }

    fn remove_link(&mut self, index: u32) -> Option<Action> {
        self.routes_are_stale = true;
        self.addresses.retain(|entry| entry.ifindex != index);
        self.neighbours.retain(|(device, _), _| *device != index);
        self.fdb.retain(|(device, ..), _| *device != index);
        self.links.remove(&index).map(|_| Action::Deleted)
    }

    fn put_address(&mut self, mut address: Address, elapsed: f64) -> Option<Action> {
        address.created_age = address.created_age.map(|age| age - elapsed);
        if let Some(known) = self.addresses.iter_mut().find(|known| is_same(known, &address)) {
            // Of a lifetime that has changed evidence holds nothing.
            let changed = known.dad_failed != address.dad_failed;
            *known = address;
            return changed.then_some(Action::Changed);
        }
        self.addresses.push(address);
        Some(Action::Added)
    }

    fn remove_address(&mut self, address: &Address) -> Option<Action> {
        self.routes_are_stale = true;
        remove_first(&mut self.addresses, |known| is_same(known, address))
            .then_some(Action::Deleted)
    }

    fn put_rule(&mut self, rule: Rule) -> Option<Action> {
        self.routes_are_stale = true;
        if self.rules.contains(&rule) {
            return None;
        }
        self.rules.push(rule);
        Some(Action::Added)
    }

    fn remove_rule(&mut self, rule: &Rule) -> Option<Action> {
        self.routes_are_stale = true;
        remove_first(&mut self.rules, |known| known == rule).then_some(Action::Deleted)
    }

    fn put_route(&mut self, route: Route, replaces: bool) -> Option<Action> {
        self.routes_are_stale |= is_told_in_part(&route);
        let routes = self.routes.entry((route.table, route.destination)).or_default();
        if routes.contains(&route) {
            return None;
        }
        let same_metric = routes.iter().position(|known| known.metric == route.metric);
        if let Some(index) = same_metric.filter(|_| replaces) {
            routes[index] = route;
            return Some(Action::Changed);
        }
        let behind = routes.iter().position(|known| known.metric > route.metric);
        routes.insert(behind.unwrap_or(routes.len()), route);
        Some(Action::Added)
    }

    fn remove_route(&mut self, route: &Route) -> Option<Action> {
        self.routes_are_stale |= is_told_in_part(route);
        let key = (route.table, route.destination);
        let routes = self.routes.get_mut(&key)?;
        let removed = remove_first(routes, |known| known == route);
        if routes.is_empty() {
            self.routes.remove(&key);
        }
        self.routes_are_stale |= !removed;
        removed.then_some(Action::Deleted)
    }

    /// Other devices have an FDB too; evidence holds that of VXLAN devices.
    fn put_fdb(&mut self, mut entry: FdbEntry, elapsed: f64) -> Option<Action> {
        self.links.get(&entry.ifindex)?.vxlan.as_ref()?;
        entry.updated_age = entry.updated_age.map(|age| age - elapsed);
        let is_same = |a: &FdbEntry, b: &FdbEntry| {
            (a.destination, a.permanent) == (b.destination, b.permanent)
        };
        put(&mut self.fdb, fdb_key(&entry), entry, is_same)
    }
}

/// Routes of `a` that `b` does not have.
fn missing<'a>(
    a: &'a BTreeMap<RouteKey, Vec<Route>>,
    b: &'a BTreeMap<RouteKey, Vec<Route>>,
) -> impl Iterator<Item = &'a Route> {
    a.iter().flat_map(move |(key, routes)| {
        let others = b.get(key);
        routes.iter().filter(move |route| others.is_none_or(|others| !others.contains(route)))
    })
}

fn put<K: Ord, V>(
    map: &mut BTreeMap<K, V>,
    key: K,
    value: V,
    is_same: impl Fn(&V, &V) -> bool,
) -> Option<Action> {
    match map.get_mut(&key) {
        None => {
            map.insert(key, value);
            Some(Action::Added)
        }
        Some(known) => {
            let changed = !is_same(known, &value);
            *known = value;
            changed.then_some(Action::Changed)
        }
    }
}

fn remove_first<T>(list: &mut Vec<T>, is_it: impl Fn(&T) -> bool) -> bool {
    let found = list.iter().position(is_it);
    found.map(|index| list.remove(index)).is_some()
}

fn is_same(a: &Address, b: &Address) -> bool {
    (a.ifindex, a.address, a.prefix_length) == (b.ifindex, b.address, b.prefix_length)
}

/// Several next hops are told one by one (IPv6), or all at each change of one.
fn is_told_in_part(route: &Route) -> bool {
    route.destination.addr().is_ipv6() || route.next_hops.len() > 1
}

/// Replacing the remote of a unicast MAC is told by the new one alone (drivers/net/vxlan,
/// vxlan_fdb_update_existing, 5.10 to 6.18); the others are appended and deleted by remote.
fn fdb_key(entry: &FdbEntry) -> FdbKey {
    let has_several = entry.mac == MacAddress::ZERO || entry.mac.0[0] & 1 == 1;
    (entry.ifindex, entry.mac, entry.destination.filter(|_| has_several))
}

#[cfg(test)]
mod tests;
