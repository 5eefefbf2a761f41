//! All tables of this thread's network namespace.

use std::collections::BTreeSet;

use netlink_packet_core::Emitable;
use netlink_packet_route::AddressFamily;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::time::{ClockId, clock_gettime};

use super::{
    address,
    attributes::Skipped,
    link, neighbour, netconf, route, rule,
    socket::{Message, NetlinkError, Socket},
    udp_socket,
};
use crate::evidence::{FdbEntry, Forwarding, Link, Route, Rule, Tables, UdpSocket};

const FAMILIES: [AddressFamily; 2] = [AddressFamily::Inet, AddressFamily::Inet6];

/// Reads links, addresses, forwarding, rules, routes, neighbours and the FDB of VXLAN devices of the network
/// namespace in which the calling thread is. Needs no privileges. `answers` stays empty, see
/// [`super::ask`].
///
/// # Errors
/// When netlink cannot be used, or a table changed during every attempt to read it.
pub fn dump_tables() -> Result<Tables, NetlinkError> {
    let mut dump = Dump::start()?;
    let links = dump.table(libc::RTM_GETLINK, &link::request(), link::decode)?;
    let uptime = uptime();
    let addresses = dump.table(libc::RTM_GETADDR, &address::request(), |body, skipped| {
        address::decode(body, uptime, skipped)
    })?;
    let forwarding = dump.all_forwarding()?;
    let (rules, routes) = dump.rules_and_routes()?;
    let all = neighbour::request(AddressFamily::Unspec);
    let neighbours = dump.table(libc::RTM_GETNEIGH, &all, neighbour::decode)?;
    let fdb = dump.fdb(&links)?;
    if dump.skipped != Skipped::default() {
        tracing::warn!(skipped = ?dump.skipped, "netlink messages could not be decoded in full");
    }
    let skipped_messages = dump.skipped.messages;
    let answers = Vec::new();
    let udp_sockets = udp_sockets(&links);
    Ok(Tables {
        links,
        addresses,
        forwarding,
        rules,
        routes,
        neighbours,
        fdb,
        udp_sockets,
        answers,
        skipped_messages,
    })
}

/// The sockets on the ports of VXLAN devices that are down. A kernel without udp_diag cannot be
/// asked; what holds such a port stays unknown then, unless it is a device.
fn udp_sockets(links: &[Link]) -> Vec<UdpSocket> {
    let down = links.iter().filter(|link| !link.up);
    let ports: BTreeSet<u16> = down.filter_map(|link| Some(link.vxlan.as_ref()?.port)).collect();
    let ask = |port| {
        udp_socket::on_port(port).unwrap_or_else(|error| {
            tracing::info!("UDP sockets on port {port} were not read: {error}");
            Vec::new()
        })
    };
    ports.into_iter().flat_map(ask).collect()
}

/// Reads anew what no notification tells of: which devices forward, and the sockets on the ports of
/// VXLAN devices that are down.
///
/// # Errors
/// When netlink cannot be used.
pub fn read_untold(tables: &mut Tables) -> Result<(), NetlinkError> {
    tables.udp_sockets = udp_sockets(&tables.links);
    tables.forwarding = Dump::start()?.all_forwarding()?;
    Ok(())
}

/// Reads rules and routes alone.
///
/// # Errors
/// As [`dump_tables`].
pub fn dump_routes() -> Result<(Vec<Rule>, Vec<Route>), NetlinkError> {
    Dump::start()?.rules_and_routes()
}

/// CLOCK_MONOTONIC in hundredths of a second, modulo 2^32 as in IFA_CACHEINFO.
pub(super) fn uptime() -> u32 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| {
        now.tv_sec().cast_unsigned() * 100 + now.tv_nsec().cast_unsigned() / 10_000_000
    });
    (now & u64::from(u32::MAX)) as u32
}

struct Dump {
    socket: Socket,
    skipped: Skipped,
}

impl Dump {
    fn start() -> Result<Self, NetlinkError> {
        Ok(Self { socket: Socket::open(NETLINK_ROUTE)?, skipped: Skipped::default() })
    }

    fn rules_and_routes(&mut self) -> Result<(Vec<Rule>, Vec<Route>), NetlinkError> {
        let (mut rules, mut routes) = (Vec::new(), Vec::new());
        for family in FAMILIES {
            rules.extend(self.rules(family)?);
            routes.extend(self.routes(family)?);
        }
        Ok((rules, routes))
    }

    /// All entries of a table that `decode` understands; the others are counted.
    fn table<T>(
        &mut self,
        kind: u16,
        request: &impl Emitable,
        decode: impl Fn(&[u8], &mut Skipped) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        let messages = self.socket.dump(kind, request)?;
        Ok(self.decode(&messages, decode))
    }

    /// A kernel without IPv6 knows no such settings of it: then there are none.
    fn all_forwarding(&mut self) -> Result<Vec<Forwarding>, NetlinkError> {
        let mut forwarding = Vec::new();
        for family in FAMILIES {
            forwarding.extend(self.forwarding(family)?);
        }
        Ok(forwarding)
    }

    fn forwarding(&mut self, family: AddressFamily) -> Result<Vec<Forwarding>, NetlinkError> {
        let asked = self.socket.dump(libc::RTM_GETNETCONF, &netconf::request(family));
        let mut messages = match asked {
            Err(error) if error.refusal() == Some(libc::EOPNOTSUPP) => return Ok(Vec::new()),
            answer => answer?,
        };
        messages.retain(|message| is_of(family, message) && !netconf::is_default(&message.body));
        Ok(self.decode(&messages, netconf::decode))
    }

    fn rules(&mut self, family: AddressFamily) -> Result<Vec<Rule>, NetlinkError> {
        let mut messages = self.socket.dump(libc::RTM_GETRULE, &rule::request(family))?;
        messages.retain(|message| is_of(family, message));
        Ok(self.decode(&messages, rule::decode))
    }

    fn routes(&mut self, family: AddressFamily) -> Result<Vec<Route>, NetlinkError> {
        let mut messages = self.socket.dump(libc::RTM_GETROUTE, &route::request(family))?;
        messages.retain(|message| is_of(family, message) && !route::is_cached(&message.body));
        Ok(self.decode(&messages, route::decode))
    }

    /// Entries of VXLAN devices; a dump of the FDB also shows those of bridges and every device's
    /// own multicast addresses.
    fn fdb(&mut self, links: &[Link]) -> Result<Vec<FdbEntry>, NetlinkError> {
        let is_vxlan = |index| links.iter().any(|link| link.index == index && link.vxlan.is_some());
        let request = neighbour::request(AddressFamily::Bridge);
        let mut messages = self.socket.dump(libc::RTM_GETNEIGH, &request)?;
        messages.retain(|message| neighbour::own_fdb_device(&message.body).is_some_and(is_vxlan));
        Ok(self.decode(&messages, neighbour::decode_fdb))
    }

    fn decode<T>(
        &mut self,
        messages: &[Message],
        decode: impl Fn(&[u8], &mut Skipped) -> Option<T>,
    ) -> Vec<T> {
        let mut entries = Vec::with_capacity(messages.len());
        for message in messages {
            match decode(&message.body, &mut self.skipped) {
                Some(entry) => entries.push(entry),
                None => self.skipped.messages += 1,
            }
        }
        entries
    }
}

/// Whether a message is of the family that was asked for. A kernel without IPv6 answers a question
/// for its table with the entries of all families it has.
fn is_of(family: AddressFamily, message: &Message) -> bool {
    message.body.first() == Some(&u8::from(family))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// A header of any content, then attributes of any kind and value.
    fn body() -> impl Strategy<Value = Vec<u8>> {
        let attribute = (0u16..64, vec(any::<u8>(), 0..24)).prop_map(|(kind, value)| {
            let length = (4 + value.len()) as u16;
            let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        });
        let header = (any::<bool>(), vec(any::<u8>(), 11)).prop_map(|(inet, rest)| {
            let mut header = vec![if inet { 2 } else { 10 }];
            header.extend(rest);
            header
        });
        (header, vec(attribute, 0..6))
            .prop_map(|(header, attributes)| [header, attributes.concat()].concat())
    }

    proptest! {
        #[test]
        fn no_message_makes_a_decoder_panic(body in body()) {
            let skipped = &mut Skipped::default();
            let padded = [&[0; 4], &body[..]].concat();
            link::decode(&padded, skipped);
            address::decode(&body[4..], 0, skipped);
            rule::decode(&body, skipped);
            route::decode(&body, skipped);
            neighbour::decode(&body, skipped);
            neighbour::decode_fdb(&body, skipped);
            netconf::is_default(&body[8..]);
            netconf::decode(&body[8..], skipped);
        }
    }
}
