//! The kernel's answer to "by which route would this packet go?".

use std::net::IpAddr;

use netlink_packet_route::{
    AddressFamily,
    route::{RouteAttribute, RouteFlags, RouteMessage},
};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::{
    attributes::Skipped,
    route,
    socket::{NetlinkError, Socket},
};
use crate::{
    evidence::{RouteAnswer, RouteKind, RouteOutcome},
    topology::Question,
};

/// Asks the kernel for the route of each question. Policy rules, the tables and reverse-path
/// filtering are applied as for a packet; nothing is sent.
///
/// An answer is [`RouteOutcome::Refused`] with whatever errno the kernel gave: beside those of
/// routes also 19 (ENODEV: `iif` is gone) and 18 (EXDEV: reverse-path filter). IPv6 names the
/// blackhole route itself, IPv4 only an errno: both become `Refused`.
///
/// # Errors
/// When netlink cannot be used at all.
pub fn ask(questions: &[Question]) -> Result<Vec<RouteAnswer>, NetlinkError> {
    let mut socket = Socket::open(NETLINK_ROUTE)?;
    questions
        .iter()
        .map(|question| {
            let outcome = outcome(&mut socket, question)?;
            Ok(RouteAnswer { destination: question.destination, origin: question.origin, outcome })
        })
        .collect()
}

fn outcome(socket: &mut Socket, question: &Question) -> Result<RouteOutcome, NetlinkError> {
    let message = match socket.ask(libc::RTM_GETROUTE, &request(question)) {
        Ok(message) => message,
        Err(error) => return error.refusal().map(RouteOutcome::Refused).ok_or(error),
    };
    let route = route::decode(&message.body, &mut Skipped::default())
        .ok_or_else(|| NetlinkError::Malformed("a route without destination".to_owned()))?;
    Ok(match route.kind {
        RouteKind::Blackhole => RouteOutcome::Refused(libc::EINVAL),
        RouteKind::Unreachable => RouteOutcome::Refused(libc::EHOSTUNREACH),
        RouteKind::Prohibit => RouteOutcome::Refused(libc::EACCES),
        _ => RouteOutcome::Route(route),
    })
}

/// RTM_F_FIB_MATCH: the matched prefix instead of the resolved path (net/ipv4/route.c,
/// inet_rtm_getroute, since 4.14); RTM_F_LOOKUP_TABLE: the table it stands in.
fn request(question: &Question) -> RouteMessage {
    let mut request = RouteMessage::default();
    let bits = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
    request.header.address_family =
        if question.destination.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    request.header.flags = RouteFlags::FibMatch | RouteFlags::LookupTable;
    request.header.destination_prefix_length = bits(question.destination);
    request.attributes.push(RouteAttribute::Destination(question.destination.into()));
    if let Some(source) = question.source {
        request.header.source_prefix_length = bits(source);
        request.attributes.push(RouteAttribute::Source(source.into()));
    }
    if let Some(iif) = question.iif {
        request.attributes.push(RouteAttribute::Iif(iif));
    }
    request
}
