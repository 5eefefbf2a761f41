//! Notifications of changes in the tables, from the kernel's multicast groups.

use std::io;

use netlink_packet_core::{NLM_F_REPLACE, NetlinkBuffer};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use tokio::io::unix::{AsyncFd, TryIoError};

use super::{
    address, attributes::Skipped, followed::Change, link, neighbour, route, rule,
    socket::NetlinkError, tables::uptime,
};

/// Kernel-side buffer, bytes: some 10,000 notifications.
const RECEIVE_BUFFER: usize = 8 * 1024 * 1024;

/// More than any notification but that of a device with very many virtual functions.
const READ_BUFFER: usize = 64 * 1024;

/// Notifications that are taken in one go, so that nothing else waits long.
const AT_ONCE: usize = 1024;

/// RTNLGRP_LINK, NEIGH (and the FDB), and for both families IFADDR, ROUTE and RULE
/// (include/uapi/linux/rtnetlink.h).
const GROUPS: [u32; 8] = [1, 3, 5, 7, 8, 9, 11, 19];

/// A socket that hears of every change of the tables in the network namespace of the thread that
/// opened it.
pub struct Follower {
    socket: AsyncFd<Socket>,
    buffer: Vec<u8>,
}

/// What was heard in one go.
#[derive(Debug, Default, PartialEq)]
pub struct Heard {
    /// In the order in which they happened.
    pub changes: Vec<Change>,
    /// The kernel had more to tell than there was room for, or told what cannot be understood:
    /// the tables have to be dumped again.
    pub overrun: bool,
}

// === impl Follower ===

impl Follower {
    /// Begins to listen. Dump the tables after this: what happens meanwhile is told then.
    ///
    /// # Errors
    /// When netlink cannot be used.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open() -> Result<Self, NetlinkError> {
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(NetlinkError::Open)?;
        socket.bind_auto().map_err(NetlinkError::Open)?;
        socket.set_non_blocking(true).map_err(NetlinkError::Open)?;
        // Beyond net.core.rmem_max only with CAP_NET_ADMIN.
        if setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER).is_err() {
            socket.set_rx_buf_sz(RECEIVE_BUFFER as libc::c_int).map_err(NetlinkError::Open)?;
        }
        for group in GROUPS {
            socket.add_membership(group).map_err(NetlinkError::Open)?;
        }
        // SAFETY: the socket owns its file descriptor and keeps it until it is dropped, with the
        // `AsyncFd` that owns it.
        let socket = unsafe { AsyncFd::register(socket) }
            .map_err(|error| NetlinkError::Open(error.into()))?;
        Ok(Self { socket, buffer: vec![0; READ_BUFFER] })
    }

    /// Waits until there is something to hear. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// When the socket cannot be read.
    pub async fn hear(&mut self) -> Result<Heard, NetlinkError> {
        let mut heard = Heard::default();
        loop {
            let mut ready = self.socket.readable().await.map_err(NetlinkError::Transfer)?;
            let buffer = &mut self.buffer;
            let read = ready.try_io(|socket| take(socket.get_ref(), buffer, &mut heard));
            match read {
                // Somebody woke us for nothing.
                Err(TryIoError { .. }) => {}
                Ok(Ok(())) => return Ok(heard),
                Ok(Err(error)) => return Err(NetlinkError::Transfer(error)),
            }
        }
    }
}

/// Takes what waits in the socket, at most [`AT_ONCE`] datagrams. Fails with `WouldBlock` when
/// nothing does.
fn take(socket: &Socket, buffer: &mut [u8], heard: &mut Heard) -> io::Result<()> {
    for number in 0..AT_ONCE {
        // MSG_TRUNC: the length of the whole datagram, though only the buffer's is read.
        match socket.recv(&mut &mut buffer[..], libc::MSG_TRUNC) {
            Ok(length) => match buffer.get(..length) {
                Some(datagram) => decode_all(datagram, heard),
                None => heard.overrun = true,
            },
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => heard.overrun = true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && number > 0 => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn decode_all(mut datagram: &[u8], heard: &mut Heard) {
    let uptime = uptime();
    while !datagram.is_empty() {
        let Ok(message) = NetlinkBuffer::new_checked(datagram) else {
            heard.overrun = true;
            return;
        };
        let length = (message.length() as usize).next_multiple_of(4).min(datagram.len());
        datagram = &datagram[length..];
        let replaces = message.flags() & NLM_F_REPLACE != 0;
        match decode(message.message_type(), replaces, message.payload(), uptime) {
            Told::Change(change) => heard.changes.push(change),
            Told::Nothing => {}
            Told::Riddle => heard.overrun = true,
        }
    }
}

/// What a notification says.
enum Told {
    Change(Change),
    /// Of something that evidence does not hold.
    Nothing,
    /// It cannot be decoded.
    Riddle,
}

fn decode(kind: u16, replaces: bool, body: &[u8], uptime: u32) -> Told {
    let family = body.first().copied().map_or(0, i32::from);
    let is_ip = family == libc::AF_INET || family == libc::AF_INET6;
    let skipped = &mut Skipped::default();
    let change = match kind {
        // A bridge tells of its ports in a family of its own: their leaving it is no deletion.
        libc::RTM_NEWLINK | libc::RTM_DELLINK if family != libc::AF_UNSPEC => return Told::Nothing,
        libc::RTM_NEWLINK => link::decode(body, skipped).map(Change::Link),
        libc::RTM_DELLINK => link::decode(body, skipped).map(|link| Change::LinkGone(link.index)),
        libc::RTM_NEWADDR => address::decode(body, uptime, skipped).map(Change::Address),
        libc::RTM_DELADDR => address::decode(body, uptime, skipped).map(Change::AddressGone),
        libc::RTM_NEWRULE if is_ip => rule::decode(body, skipped).map(Change::Rule),
        libc::RTM_DELRULE if is_ip => rule::decode(body, skipped).map(Change::RuleGone),
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE if route::is_cached(body) => return Told::Nothing,
        libc::RTM_NEWROUTE if is_ip => {
            route::decode(body, skipped).map(|route| Change::Route { route, replaces })
        }
        libc::RTM_DELROUTE if is_ip => route::decode(body, skipped).map(Change::RouteGone),
        libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH => {
            return decode_neighbour(kind == libc::RTM_NEWNEIGH, family, body);
        }
        _ => return Told::Nothing,
    };
    change.map_or(Told::Riddle, Told::Change)
}

/// The FDB arrives as neighbours of family AF_BRIDGE.
fn decode_neighbour(is_new: bool, family: i32, body: &[u8]) -> Told {
    let skipped = &mut Skipped::default();
    if family == libc::AF_BRIDGE {
        if neighbour::own_fdb_device(body).is_none() {
            return Told::Nothing;
        }
        let change = if is_new { Change::Fdb } else { Change::FdbGone };
        return match neighbour::decode_fdb(body, skipped) {
            // Behind a VXLAN device's own word comes that of the request, which knows no remote
            // (net/core/rtnetlink.c, rtnl_fdb_add and rtnl_fdb_del, 5.10 to 6.12).
            Some(entry) if entry.destination.is_none() => Told::Nothing,
            Some(entry) => Told::Change(change(entry)),
            None => Told::Riddle,
        };
    }
    if neighbour::is_proxy(body) || !matches!(family, libc::AF_INET | libc::AF_INET6) {
        return Told::Nothing;
    }
    let entry = neighbour::decode(body, skipped);
    let change = if is_new { Change::Neighbour } else { Change::NeighbourGone };
    entry.map_or(Told::Riddle, |entry| Told::Change(change(entry)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_leaves_its_bridge_is_no_device_that_goes() {
        let mut body = vec![0; 16];
        body[0] = libc::AF_BRIDGE as u8;
        assert!(matches!(decode(libc::RTM_DELLINK, false, &body, 0), Told::Nothing));
    }

    /// An entry of an FDB as the kernel tells of it: ndmsg with NTF_SELF, NDA_LLADDR, and NDA_DST
    /// where it knows a remote.
    fn fdb_entry(has_remote: bool) -> Vec<u8> {
        let mut body = vec![libc::AF_BRIDGE as u8, 0, 0, 0];
        body.extend(4_u32.to_ne_bytes());
        body.extend(0x80_u16.to_ne_bytes());
        body.extend([2, 0]);
        let mut attribute = |kind: u16, value: &[u8]| {
            body.extend((4 + value.len() as u16).to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(value);
            body.resize(body.len().next_multiple_of(4), 0);
        };
        attribute(2, &[2, 0, 0, 0, 2, 1]);
        if has_remote {
            attribute(1, &[192, 0, 2, 2]);
        }
        body
    }

    #[test]
    fn an_fdb_entry_without_a_remote_is_only_the_echo_of_a_request() {
        for kind in [libc::RTM_NEWNEIGH, libc::RTM_DELNEIGH] {
            assert!(matches!(decode(kind, false, &fdb_entry(true), 0), Told::Change(_)));
            assert!(matches!(decode(kind, false, &fdb_entry(false), 0), Told::Nothing));
        }
    }

    #[test]
    fn what_cannot_be_decoded_asks_for_a_dump_and_never_panics() {
        let mut message = vec![0; 20];
        message[0] = 20;
        message[4..6].copy_from_slice(&libc::RTM_NEWROUTE.to_ne_bytes());
        message[16] = libc::AF_INET as u8;
        let mut heard = Heard::default();
        decode_all(&message, &mut heard);
        assert!(heard.overrun && heard.changes.is_empty());
        for length in 1..message.len() {
            let mut heard = Heard::default();
            decode_all(&message[..length], &mut heard);
            assert!(heard.overrun, "{length}");
        }
    }
}
