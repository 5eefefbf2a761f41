//! Counters of devices, and what only bridges are asked for.

use libc::{IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_STATS64};
use netlink_packet_core::Emitable;
use netlink_packet_route::link::{LinkHeader, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::{Names, number_at};
use crate::{
    evidence::DeviceCounters,
    netlink::{
        attributes::{find, text},
        socket::{NetlinkError, Socket},
    },
};

// include/uapi/linux/if_link.h
const IFLA_BR_NF_CALL_IPTABLES: u16 = 36;

/// All devices of the namespace, counted from when each was made.
#[derive(Debug, Default)]
pub struct Devices {
    /// Their counters.
    pub counters: Vec<DeviceCounters>,
    /// Bridges whose own setting has iptables see what they bridge.
    pub bridges_calling: Vec<String>,
}

/// Reads the counters of all devices of this thread's network namespace.
///
/// # Errors
/// When netlink cannot be used.
pub fn devices() -> Result<Devices, NetlinkError> {
    let mut socket = Socket::open(NETLINK_ROUTE)?;
    let messages = socket.dump(libc::RTM_GETLINK, &LinkMessage::default())?;
    let mut devices = Devices::default();
    for (counters, calls) in messages.iter().filter_map(|message| decode(&message.body)) {
        if calls {
            devices.bridges_calling.push(counters.interface.clone());
        }
        devices.counters.push(counters);
    }
    Ok(devices)
}

/// A device's counters, and whether it is a bridge that calls iptables by itself.
fn decode(body: &[u8]) -> Option<(DeviceCounters, bool)> {
    let header = LinkHeader::parse(body).ok()?;
    let attributes = body.get(header.buffer_len()..)?;
    let row = find(attributes, IFLA_STATS64)?;
    let info = find(attributes, IFLA_LINKINFO).unwrap_or_default();
    let is_bridge = find(info, IFLA_INFO_KIND).map(text).as_deref() == Some("bridge");
    let data = find(info, IFLA_INFO_DATA).filter(|_| is_bridge).unwrap_or_default();
    let calls = find(data, IFLA_BR_NF_CALL_IPTABLES).is_some_and(|value| value.first() != Some(&0));
    Some((counters(find(attributes, IFLA_IFNAME).map(text)?, header.index, row), calls))
}

/// From struct rtnl_link_stats64, whose members all have eight bytes.
fn counters(interface: String, ifindex: u32, row: &[u8]) -> DeviceCounters {
    DeviceCounters {
        interface,
        ifindex,
        rx_packets: number_at(row, 0),
        tx_packets: number_at(row, 1),
        rx_errors: number_at(row, 4),
        tx_errors: number_at(row, 5),
        rx_dropped: number_at(row, 6),
        tx_dropped: number_at(row, 7),
        rx_frame_errors: number_at(row, 13),
        tx_carrier_errors: number_at(row, 17),
        tx_dropped_total: number_at(row, 7),
        rx_packets_total: number_at(row, 0),
    }
}

// === impl Devices ===

impl Devices {
    /// Device names by device number.
    #[must_use]
    pub fn names(&self) -> Names {
        self.counters.iter().map(|it| (it.ifindex, it.interface.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::row, *};
    use crate::netlink::attributes::testing::attribute;

    fn message(stats: &[u8], info: &[u8]) -> Vec<u8> {
        let mut body = vec![0; 16];
        body[4] = 7;
        body.extend(attribute(IFLA_IFNAME, b"cni0\0"));
        body.extend(attribute(IFLA_STATS64, stats));
        body.extend(attribute(IFLA_LINKINFO, info));
        body
    }

    fn info(kind: &[u8], calls: u8) -> Vec<u8> {
        let data = attribute(IFLA_BR_NF_CALL_IPTABLES, &[calls]);
        [attribute(IFLA_INFO_KIND, kind), attribute(IFLA_INFO_DATA, &data)].concat()
    }

    #[test]
    fn each_counter_is_read_at_its_place() {
        let (counters, calls) = decode(&message(&row(25), &info(b"bridge\0", 0))).unwrap();
        assert_eq!((counters.interface.as_str(), counters.ifindex), ("cni0", 7));
        assert_eq!((counters.rx_packets, counters.tx_packets), (0, 1));
        assert_eq!((counters.rx_errors, counters.tx_errors), (4, 5));
        assert_eq!((counters.rx_dropped, counters.tx_dropped), (6, 7));
        assert_eq!((counters.rx_frame_errors, counters.tx_carrier_errors), (13, 17));
        assert_eq!((counters.rx_packets_total, counters.tx_dropped_total), (0, 7));
        assert!(!calls);
    }

    #[test]
    fn only_a_bridge_calls_iptables() {
        let calls = |kind: &[u8]| decode(&message(&row(25), &info(kind, 1))).unwrap().1;
        assert!(calls(b"bridge\0"));
        // The same number is another setting of other devices.
        assert!(!calls(b"bond\0"));
    }

    #[test]
    fn a_truncated_message_is_no_panic() {
        let whole = message(&row(25), &info(b"bridge\0", 1));
        for length in 0..whole.len() {
            decode(&whole[..length]);
        }
    }
}
