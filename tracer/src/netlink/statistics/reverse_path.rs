//! `net.ipv4.conf.*.rp_filter` of this namespace. IPv6 has no such setting.

use netlink_packet_route::AddressFamily;
use netlink_sys::protocols::NETLINK_ROUTE;

use super::Names;
use crate::{
    evidence::{RpFilter, Scope},
    netlink::{
        netconf,
        socket::{NetlinkError, Socket},
    },
};

/// Reads the setting of `all`, which comes first, and of every device.
///
/// # Errors
/// When netlink cannot be used.
pub fn reverse_path_filters(names: &Names) -> Result<Vec<RpFilter>, NetlinkError> {
    let mut socket = Socket::open(NETLINK_ROUTE)?;
    let request = netconf::request(AddressFamily::Inet);
    let messages = socket.dump(libc::RTM_GETNETCONF, &request)?;
    let found = messages.iter().filter_map(|it| netconf::reverse_path_filter(&it.body));
    let mut filters: Vec<RpFilter> =
        found.filter_map(|(scope, mode)| named(scope, mode, names)).collect();
    filters.sort_by(|a, b| a.interface.cmp(&b.interface));
    Ok(filters)
}

/// A setting by its device's name; a device that has gone since has none.
fn named(scope: Scope, mode: u8, names: &Names) -> Option<RpFilter> {
    let interface = match scope {
        Scope::All => None,
        Scope::Device(index) => Some(names.get(&index)?.clone()),
    };
    Some(RpFilter { interface, mode })
}
