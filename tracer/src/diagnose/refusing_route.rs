//! Which route it is that refuses packets.

use ipnet::IpNet;

use super::case::table_name;
use crate::{
    evidence::{Route, RouteKind, Tables},
    topology::TABLE_MAIN,
};

/// The route that refuses packets for a network with this errno: of its kind, and the longest match of
/// its table.
pub(super) fn refusing_route(tables: &Tables, network: IpNet, errno: i32) -> Option<&Route> {
    let kind = kind_of(errno)?;
    let covers = |route: &&Route| route.destination.contains(&network);
    let beats = |other: &Route, route: &Route| {
        let longer = other.destination.prefix_len() > route.destination.prefix_len();
        let same = other.destination == route.destination;
        other.table == route.table && (longer || (same && other.metric < route.metric))
    };
    tables
        .routes
        .iter()
        .filter(covers)
        .filter(|route| route.kind == kind)
        .find(|route| !tables.routes.iter().filter(covers).any(|other| beats(other, route)))
}

/// Which kind of route answers with this errno: fib_props in net/ipv4/fib_semantics.c, Linux 6.18.
const fn kind_of(errno: i32) -> Option<RouteKind> {
    match errno {
        22 => Some(RouteKind::Blackhole),
        113 => Some(RouteKind::Unreachable),
        13 => Some(RouteKind::Prohibit),
        _ => None,
    }
}

/// `blackhole route 10.244.2.0/24` without the middle word, as `ip route` takes it.
pub(super) fn words(route: &Route) -> String {
    let kind = match route.kind {
        RouteKind::Unreachable => "unreachable",
        RouteKind::Prohibit => "prohibit",
        _ => "blackhole",
    };
    format!("{kind} {}", route.destination)
}

/// ` table 52`, as `ip route` takes it behind a route; nothing for main.
pub(super) fn of_table(route: &Route) -> String {
    if route.table == TABLE_MAIN {
        String::new()
    } else {
        format!(" table {}", table_name(route.table))
    }
}
