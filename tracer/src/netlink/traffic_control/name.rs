//! Names that a living process holds.
//!
//! An abstract unix socket's name is scoped to the network namespace, as qdiscs and filters are, and
//! the kernel frees it with the process, however that ends.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

use anyhow::Context as _;

/// Holds a name in this thread's network namespace until the socket is dropped; `None` when a
/// process, this one included, holds it already.
///
/// # Errors
/// When no socket can be made.
pub(super) fn hold(what: &str) -> anyhow::Result<Option<UnixDatagram>> {
    let name = format!("flannel-tracer/clsact/{what}");
    let address = SocketAddr::from_abstract_name(&name)?;
    match UnixDatagram::bind_addr(&address) {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot hold the name @{name}")),
    }
}
