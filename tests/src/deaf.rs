//! A server that hears nothing: a process in a pod that has a UDP port and never reads from it. What
//! comes fills its socket, and the kernel drops the rest there.

use std::{
    net::{Ipv6Addr, UdpSocket},
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::socket::{setsockopt, sockopt};

use crate::{
    plan::Pod,
    process,
    script::{Script, Tool},
    state,
};

/// What its process is called, so that it alone is ended.
const NAME: &str = "deaf";
/// Bytes that its socket has room for: a few datagrams.
const ROOM: usize = 4096;

/// Has a process in the namespace of a pod listen to a port.
#[must_use]
pub fn starts(pod: &Pod, port: u16) -> Script {
    Script::new(Tool::Deaf, Some(&pod.namespace), [format!("start {} {port}", pod.namespace)])
}

/// Ends it.
#[must_use]
pub fn ends(pod: &Pod) -> Script {
    Script::new(Tool::Deaf, Some(&pod.namespace), [format!("stop {}", pod.namespace)])
}

/// A line of a script: `start NAMESPACE PORT` or `stop NAMESPACE`.
pub(crate) fn run(line: &str) -> Result<()> {
    match line.split(' ').collect::<Vec<_>>().as_slice() {
        ["start", namespace, port] => {
            process::spawn(namespace, &program()?, &["deaf", "--port", port])
        }
        ["stop", namespace] => process::end_named(namespace, NAME),
        _ => bail!("`{line}` is nothing that a deaf server does"),
    }
}

/// The socket of such a server, of both IP versions.
///
/// # Errors
/// When the port cannot be had.
pub fn socket(port: u16) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))
        .with_context(|| format!("UDP port {port}"))?;
    setsockopt(&socket, sockopt::RcvBuf, &ROOM).context("a small socket")?;
    Ok(socket)
}

/// The agent under a name of its own.
fn program() -> Result<PathBuf> {
    state::link(&process::agent()?, NAME)
}
