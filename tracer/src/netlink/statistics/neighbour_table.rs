//! The neighbour tables of the kernel: one for IPv4 and one for IPv6, shared by all namespaces.

use netlink_packet_core::Emitable;
use netlink_packet_route::AddressFamily;
use netlink_sys::protocols::NETLINK_ROUTE;

use super::{number_at, short_number_at};
use crate::{
    evidence::NeighbourTable,
    netlink::{
        attributes::find,
        socket::{NetlinkError, Socket},
    },
};

// include/uapi/linux/neighbour.h
const NDTA_THRESH3: u16 = 4;
const NDTA_CONFIG: u16 = 5;
const NDTA_STATS: u16 = 7;
/// Where struct ndt_config has its entries.
const ENTRIES: usize = 4;
/// The place of `ndts_table_fulls` in struct ndt_stats, whose members all have eight bytes.
const TABLE_FULLS: usize = 10;
/// struct ndtmsg: the family, padded to 4.
const HEADER_LENGTH: usize = 4;

struct Request;

impl Emitable for Request {
    fn buffer_len(&self) -> usize {
        HEADER_LENGTH
    }

    fn emit(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

/// Reads both tables, IPv4's first.
///
/// # Errors
/// When netlink cannot be used.
pub fn neighbour_tables() -> Result<Vec<NeighbourTable>, NetlinkError> {
    let messages = Socket::open(NETLINK_ROUTE)?.dump(libc::RTM_GETNEIGHTBL, &Request)?;
    let mut tables: Vec<NeighbourTable> =
        messages.iter().filter_map(|message| decode(&message.body)).collect();
    tables.sort_by_key(|table| table.family);
    Ok(tables)
}

/// A table; the messages that follow it, of single devices, have no NDTA_CONFIG.
fn decode(body: &[u8]) -> Option<NeighbourTable> {
    let family = match AddressFamily::from(*body.first()?) {
        AddressFamily::Inet => 4,
        AddressFamily::Inet6 => 6,
        _ => return None,
    };
    let attributes = body.get(HEADER_LENGTH..)?;
    Some(NeighbourTable {
        family,
        entries: short_number_at(find(attributes, NDTA_CONFIG)?, ENTRIES)?.into(),
        most: short_number_at(find(attributes, NDTA_THRESH3)?, 0)?.into(),
        refused: number_at(find(attributes, NDTA_STATS)?, TABLE_FULLS),
    })
}

#[cfg(test)]
mod tests {
    use super::{super::testing::row, *};
    use crate::netlink::attributes::testing::attribute;

    fn message(family: u8) -> Vec<u8> {
        let mut body = vec![family, 0, 0, 0];
        body.extend(attribute(NDTA_THRESH3, &1024_u32.to_ne_bytes()));
        let config: Vec<u8> = [0_u32, 17, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
        body.extend(attribute(NDTA_CONFIG, &config));
        body.extend(attribute(NDTA_STATS, &row(11)));
        body
    }

    #[test]
    fn entries_limit_and_refusals_are_read() {
        let expected = NeighbourTable { family: 4, entries: 17, most: 1024, refused: 10 };
        assert_eq!(decode(&message(2)), Some(expected));
        assert_eq!(decode(&message(10)), Some(NeighbourTable { family: 6, ..expected }));
        assert_eq!(decode(&message(12)), None, "DECnet's");
    }

    #[test]
    fn what_is_of_a_device_is_no_table() {
        let mut body = vec![2, 0, 0, 0];
        body.extend(attribute(6, &[0; 8]));
        body.extend(attribute(NDTA_THRESH3, &1024_u32.to_ne_bytes()));
        body.extend(attribute(NDTA_STATS, &row(11)));
        assert_eq!(decode(&body), None);
        let whole = message(2);
        for length in 0..whole.len() - row(11).len() {
            assert_eq!(decode(&whole[..length]), None, "{length}");
        }
    }
}
