use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    diagnose::testing::{OVERLAY, Pass, Plan, UPLINK},
    evidence::{NeighbourState, NextHop, RouteKind},
};

fn healthy() -> Tables {
    let tables = Plan::of(4, Pass::Tables).evidence().tables.unwrap();
    // Of what is left out no notification tells.
    Tables { answers: Vec::new(), forwarding: Vec::new(), ..tables }
}

/// Tables in an order and without ages, to be compared.
fn plain(mut tables: Tables) -> Tables {
    tables.addresses.iter_mut().for_each(|it| it.created_age = None);
    tables.fdb.iter_mut().for_each(|it| it.updated_age = None);
    for entry in &mut tables.neighbours {
        (entry.updated_age, entry.confirmed_age) = (None, None);
    }
    tables.addresses.sort_by_key(|it| (it.ifindex, it.address, it.prefix_length));
    tables.links.sort_by_key(|it| it.index);
    tables.neighbours.sort_by_key(|it| (it.ifindex, it.address));
    tables.fdb.sort_by_key(|it| (it.ifindex, it.mac, it.destination));
    tables.routes.sort_by_key(|it| (it.table, it.destination, it.metric));
    tables.rules.sort_by_key(|it| (it.family, it.priority, it.table));
    tables
}

/// The changes that take all entries of a table away, and that bring them back.
fn there_and_back(tables: &Tables) -> Vec<(Change, Change)> {
    let mut pairs = Vec::new();
    pairs.extend(
        tables
            .addresses
            .iter()
            .map(|it| (Change::AddressGone(it.clone()), Change::Address(it.clone()))),
    );
    pairs.extend(tables.routes.iter().map(|it| {
        let back = Change::Route { route: it.clone(), replaces: false };
        (Change::RouteGone(it.clone()), back)
    }));
    pairs.extend(
        tables
            .neighbours
            .iter()
            .map(|it| (Change::NeighbourGone(it.clone()), Change::Neighbour(it.clone()))),
    );
    pairs
        .extend(tables.fdb.iter().map(|it| (Change::FdbGone(it.clone()), Change::Fdb(it.clone()))));
    pairs.extend(
        tables.rules.iter().map(|it| (Change::RuleGone(it.clone()), Change::Rule(it.clone()))),
    );
    pairs
}

proptest! {
    #[test]
    fn whatever_goes_and_comes_back_leaves_the_tables_as_they_were(
        order in vec((any::<prop::sample::Index>(), any::<bool>()), 0..200)
    ) {
        let tables = healthy();
        let pairs = there_and_back(&tables);
        let mut followed = Followed::new(tables.clone());
        let mut gone = vec![false; pairs.len()];
        for (index, twice) in order {
            let at = index.index(pairs.len());
            let (go, back) = &pairs[at];
            let change = if gone[at] { back } else { go };
            prop_assert!(followed.apply(change.clone(), 1.0).is_some());
            // A notification that the dump has already seen brings nothing new.
            if twice {
                prop_assert_eq!(followed.apply(change.clone(), 1.0), None);
            }
            gone[at] = !gone[at];
        }
        for (index, (_, back)) in pairs.iter().enumerate() {
            if gone[index] {
                followed.apply(back.clone(), 2.0);
            }
        }
        prop_assert_eq!(plain(followed.tables(3.0)), plain(tables));
    }
}

#[test]
fn a_device_takes_what_hung_on_it_along_and_asks_for_the_routes() {
    let mut followed = Followed::new(healthy());
    assert!(!followed.routes_are_stale());
    assert_eq!(followed.apply(Change::LinkGone(OVERLAY), 0.0), Some(Action::Deleted));
    let tables = followed.tables(0.0);
    assert!(tables.link(OVERLAY).is_none());
    assert!(tables.fdb.is_empty() && tables.addresses_of(OVERLAY).next().is_none());
    assert!(tables.neighbours.iter().all(|it| it.ifindex != OVERLAY));
    assert!(followed.routes_are_stale());
    let routes = tables.routes.into_iter().filter(|it| it.table == 1).collect();
    followed.set_routes(tables.rules, routes);
    assert!(!followed.routes_are_stale() && followed.tables(0.0).routes.is_empty());
}

#[test]
fn entries_grow_older_and_a_rewritten_one_is_young() {
    let mut tables = healthy();
    tables.fdb.truncate(1);
    tables.fdb[0].updated_age = Some(10.0);
    let entry = tables.fdb[0].clone();
    let mut followed = Followed::new(tables);
    assert_eq!(followed.tables(5.0).fdb[0].updated_age, Some(15.0));
    let again = FdbEntry { updated_age: Some(0.0), ..entry };
    assert_eq!(followed.apply(Change::Fdb(again), 20.0), None, "only its age is another");
    assert_eq!(followed.tables(21.0).fdb[0].updated_age, Some(1.0));
}

#[test]
fn a_unicast_mac_has_one_remote_and_the_default_entry_may_have_several() {
    let mut followed = Followed::new(healthy());
    let entry = followed.tables(0.0).fdb[0].clone();
    let moved = FdbEntry { destination: Some("192.0.2.9".parse().unwrap()), ..entry.clone() };
    assert_eq!(followed.apply(Change::Fdb(moved.clone()), 0.0), Some(Action::Changed));
    let remotes: Vec<_> =
        followed.tables(0.0).fdb.into_iter().filter(|it| it.mac == entry.mac).collect();
    assert_eq!(remotes.len(), 1);
    for remote in ["192.0.2.7", "192.0.2.8"] {
        let default = FdbEntry {
            mac: MacAddress::ZERO,
            destination: Some(remote.parse().unwrap()),
            ..entry.clone()
        };
        assert_eq!(followed.apply(Change::Fdb(default), 0.0), Some(Action::Added));
    }
}

#[test]
fn the_fdb_of_other_devices_is_not_followed() {
    let mut followed = Followed::new(healthy());
    let entry = FdbEntry { ifindex: UPLINK, ..followed.tables(0.0).fdb[0].clone() };
    assert_eq!(followed.apply(Change::Fdb(entry), 0.0), None);
}

#[test]
fn a_replaced_route_takes_the_place_of_the_one_with_its_metric() {
    let mut followed = Followed::new(healthy());
    let old = followed.tables(0.0).routes.into_iter().find(|it| it.kind == RouteKind::Unicast);
    let old = old.unwrap();
    let hop = NextHop { gateway: None, ifindex: Some(UPLINK) };
    let route = Route { next_hops: vec![hop], protocol: 4, ..old.clone() };
    let change = Change::Route { route: route.clone(), replaces: true };
    assert_eq!(followed.apply(change, 0.0), Some(Action::Changed));
    let routes = followed.tables(0.0).routes;
    assert!(routes.contains(&route) && !routes.contains(&old));
    assert_eq!(followed.apply(Change::RouteGone(old), 0.0), None);
    assert!(followed.routes_are_stale(), "the kernel knew a route that we did not");
}

#[test]
fn a_neighbour_that_only_changes_its_state_is_changed() {
    let mut followed = Followed::new(healthy());
    let mut entry = followed.tables(0.0).neighbours[0].clone();
    assert_eq!(followed.apply(Change::Neighbour(entry.clone()), 0.0), None);
    entry.state = NeighbourState::Failed;
    assert_eq!(followed.apply(Change::Neighbour(entry), 0.0), Some(Action::Changed));
}

#[test]
fn an_mtu_of_ipv6_is_forgotten_with_the_devices_own() {
    let mut tables = healthy();
    let uplink = tables.links.iter_mut().find(|it| it.index == UPLINK).unwrap();
    (uplink.mtu, uplink.mtu6) = (1500, Some(1400));
    let known = uplink.clone();
    let mut followed = Followed::new(tables);
    let of_ipv6 = |followed: &Followed| followed.link(UPLINK).unwrap().mtu6;
    // The old one, as the kernel tells it before IPv6 has heard of the new MTU.
    followed.apply(Change::Link(Link { mtu: 9000, ..known.clone() }), 1.0);
    assert_eq!(of_ipv6(&followed), None);
    followed.apply(Change::Link(Link { mtu: 9000, ..known }), 2.0);
    assert_eq!(of_ipv6(&followed), Some(1400));
}

#[test]
fn an_address_that_another_host_has_too_is_a_change() {
    let tables = healthy();
    let address = tables.addresses[1].clone();
    let mut followed = Followed::new(tables);
    assert_eq!(followed.apply(Change::Address(address.clone()), 1.0), None);
    let refused = Address { dad_failed: true, ..address };
    assert_eq!(followed.apply(Change::Address(refused), 1.0), Some(Action::Changed));
    assert!(followed.tables(1.0).addresses[1].dad_failed);
}
