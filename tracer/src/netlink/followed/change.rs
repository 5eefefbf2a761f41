use ipnet::IpNet;

use crate::evidence::{Address, FdbEntry, Link, Neighbour, Route, RouteKind, Rule};

/// One notification.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A device, new or changed.
    Link(Link),
    /// The device with this number is gone, and with it what hung on it.
    LinkGone(u32),
    /// An address, new or changed.
    Address(Address),
    /// An address is gone.
    AddressGone(Address),
    /// A new policy rule.
    Rule(Rule),
    /// A policy rule is gone.
    RuleGone(Rule),
    /// A new route.
    Route {
        /// As it is now.
        route: Route,
        /// It took the place of the first of the same destination, table and metric.
        replaces: bool,
    },
    /// A route is gone.
    RouteGone(Route),
    /// A neighbour entry, new or changed.
    Neighbour(Neighbour),
    /// A neighbour entry is gone.
    NeighbourGone(Neighbour),
    /// An entry of a device's FDB, new or changed.
    Fdb(FdbEntry),
    /// An entry of a device's FDB is gone.
    FdbGone(FdbEntry),
}

/// The tables that are followed, by the names in metrics and events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Table {
    Link,
    Address,
    Rule,
    Route,
    Neighbour,
    Fdb,
}

/// What happened to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Action {
    Added,
    Changed,
    Deleted,
}

// === impl Table, Action ===

impl Table {
    /// All tables.
    pub const ALL: [Self; 6] =
        [Self::Link, Self::Address, Self::Rule, Self::Route, Self::Neighbour, Self::Fdb];

    /// The name in metrics and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Address => "address",
            Self::Rule => "rule",
            Self::Route => "route",
            Self::Neighbour => "neighbour",
            Self::Fdb => "fdb",
        }
    }
}

impl Action {
    /// All actions.
    pub const ALL: [Self; 3] = [Self::Added, Self::Changed, Self::Deleted];

    /// The name in metrics and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Deleted => "deleted",
        }
    }
}

// === impl Change ===

impl Change {
    /// The table whose entry it is.
    #[must_use]
    pub const fn table(&self) -> Table {
        match self {
            Self::Link(_) | Self::LinkGone(_) => Table::Link,
            Self::Address(_) | Self::AddressGone(_) => Table::Address,
            Self::Rule(_) | Self::RuleGone(_) => Table::Rule,
            Self::Route { .. } | Self::RouteGone(_) => Table::Route,
            Self::Neighbour(_) | Self::NeighbourGone(_) => Table::Neighbour,
            Self::Fdb(_) | Self::FdbGone(_) => Table::Fdb,
        }
    }

    /// The device that the entry concerns; of a route the first.
    #[must_use]
    pub fn device(&self) -> Option<u32> {
        match self {
            Self::Link(link) => Some(link.index),
            Self::LinkGone(index) => Some(*index),
            Self::Address(it) | Self::AddressGone(it) => Some(it.ifindex),
            Self::Rule(_) | Self::RuleGone(_) => None,
            Self::Route { route, .. } | Self::RouteGone(route) => {
                route.next_hops.iter().find_map(|hop| hop.ifindex)
            }
            Self::Neighbour(it) | Self::NeighbourGone(it) => Some(it.ifindex),
            Self::Fdb(it) | Self::FdbGone(it) => Some(it.ifindex),
        }
    }

    /// The entry in the words of iproute2; `device` is the name of [`Change::device`].
    #[must_use]
    pub fn words(&self, device: Option<&str>) -> String {
        let dev = device.map(|name| format!(" dev {name}")).unwrap_or_default();
        match self {
            Self::Link(link) => {
                let state = if link.up { "up" } else { "down" };
                format!("{} {state} mtu {}", link.name, link.mtu)
            }
            Self::LinkGone(index) => device.map_or_else(|| format!("if{index}"), str::to_owned),
            Self::Address(it) | Self::AddressGone(it) => {
                format!("{}/{}{dev}", it.address, it.prefix_length)
            }
            Self::Rule(rule) | Self::RuleGone(rule) => rule_words(rule),
            Self::Route { route, .. } | Self::RouteGone(route) => route_words(route, &dev),
            Self::Neighbour(it) | Self::NeighbourGone(it) => {
                let mac = it.mac.map(|mac| format!(" lladdr {mac}")).unwrap_or_default();
                format!("{}{dev}{mac} {:?}", it.address, it.state).to_lowercase()
            }
            Self::Fdb(it) | Self::FdbGone(it) => {
                let to = it.destination.map(|to| format!(" dst {to}")).unwrap_or_default();
                format!("{}{dev}{to}", it.mac)
            }
        }
    }
}

fn rule_words(rule: &Rule) -> String {
    let selector = |word: &str, network: Option<IpNet>| {
        network.map(|network| format!(" {word} {network}")).unwrap_or_default()
    };
    let from = selector("from", rule.source);
    let to = selector("to", rule.destination);
    format!("pref {}{from}{to} lookup {}", rule.priority, rule.table)
}

fn route_words(route: &Route, dev: &str) -> String {
    let kind = match route.kind {
        RouteKind::Unicast => String::new(),
        kind => format!("{kind:?} ").to_lowercase(),
    };
    let via = route.next_hops.iter().find_map(|hop| hop.gateway);
    let via = via.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
    format!("{kind}{}{via}{dev} table {}", route.destination, route.table)
}
