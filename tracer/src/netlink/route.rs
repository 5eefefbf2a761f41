//! Routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{Emitable, ParseableParametrized};
use netlink_packet_route::{
    AddressFamily,
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteLwEnCapType, RouteMessage,
        RouteNextHop, RouteType, RouteVia,
    },
};

use super::attributes::Skipped;
use crate::evidence::{NextHop, Route, RouteKind};

/// Asks for the routes of all tables of one family.
pub(super) fn request(family: AddressFamily) -> RouteMessage {
    let mut request = RouteMessage::default();
    request.header.address_family = family;
    request
}

/// Whether the message shows a cached path (an IPv6 path MTU, say) instead of a route.
pub(super) fn is_cached(body: &[u8]) -> bool {
    RouteHeader::parse(body).is_ok_and(|header| header.flags.contains(RouteFlags::Cloned))
}

/// A route from the body of an RTM_NEWROUTE.
pub(super) fn decode(body: &[u8], skipped: &mut Skipped) -> Option<Route> {
    let header = RouteHeader::parse(body).ok()?;
    let mut route = Route {
        destination: everything(header.address_family),
        table: header.table.into(),
        kind: kind(header.kind),
        metric: 0,
        protocol: header.protocol.into(),
        next_hops: Vec::new(),
    };
    let mut single = NextHop { gateway: None, ifindex: None };
    let family = (header.address_family, header.kind, RouteLwEnCapType::None);
    let attributes = body.get(header.buffer_len()..)?;
    for attribute in
        skipped.attributes(attributes, |found| RouteAttribute::parse_with_param(found, family))
    {
        match attribute {
            RouteAttribute::Destination(address) => {
                route.destination =
                    IpNet::new(ip(&address)?, header.destination_prefix_length).ok()?;
            }
            // Table numbers above 255 do not fit into the header.
            RouteAttribute::Table(table) => route.table = table,
            RouteAttribute::Priority(metric) => route.metric = metric,
            RouteAttribute::Oif(ifindex) => single.ifindex = Some(ifindex),
            RouteAttribute::MultiPath(hops) => {
                route.next_hops = hops.iter().map(next_hop).collect();
            }
            other => single.gateway = gateway(&other).or(single.gateway),
        }
    }
    if route.next_hops.is_empty() && single != (NextHop { gateway: None, ifindex: None }) {
        route.next_hops.push(single);
    }
    if !leads_somewhere(route.kind) {
        // IPv6 names the loopback device for these.
        route.next_hops.clear();
    }
    Some(route)
}

/// One address, as route messages carry it.
fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

fn next_hop(hop: &RouteNextHop) -> NextHop {
    NextHop {
        gateway: hop.attributes.iter().find_map(gateway),
        ifindex: Some(hop.interface_index).filter(|index| *index != 0),
    }
}

/// RTA_GATEWAY, or RTA_VIA for an IPv4 route by an IPv6 gateway.
fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(RouteVia::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Via(RouteVia::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

fn everything(family: AddressFamily) -> IpNet {
    match family {
        AddressFamily::Inet6 => IpNet::new_assert(Ipv6Addr::UNSPECIFIED.into(), 0),
        _ => IpNet::new_assert(Ipv4Addr::UNSPECIFIED.into(), 0),
    }
}

const fn leads_somewhere(kind: RouteKind) -> bool {
    !matches!(
        kind,
        RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Throw
    )
}

const fn kind(kind: RouteType) -> RouteKind {
    match kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::Local => RouteKind::Local,
        RouteType::Broadcast => RouteKind::Broadcast,
        RouteType::Anycast => RouteKind::Anycast,
        RouteType::Multicast => RouteKind::Multicast,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Prohibit => RouteKind::Prohibit,
        RouteType::Throw => RouteKind::Throw,
        RouteType::Nat => RouteKind::Nat,
        _ => RouteKind::Unknown,
    }
}
