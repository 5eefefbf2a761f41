//! Orders for the relay: a socket that is known by name to whoever is in the switch's namespace.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    str::FromStr,
};

use anyhow::{Context as _, Result, anyhow};

use crate::netns;

/// The socket's name in the abstract namespace, which each network namespace has for itself.
const NAME: &str = "fltr-relay";
/// More than any order is long, bytes.
const LONGEST: usize = 256;

/// What the relay is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// To read nothing from the devices of this namespace, as a daemon that hangs.
    Stop(String),
    /// To read from them again.
    Go(String),
}

/// Where orders come in.
#[derive(Debug)]
pub(super) struct Orders {
    socket: UnixDatagram,
}

/// Gives the lab's relay an order: `stop NAMESPACE` has it read nothing from the devices there, `go
/// NAMESPACE` has it read again.
///
/// # Errors
/// When it is no order, or there is no relay.
pub fn order(line: &str) -> Result<()> {
    line.parse::<Order>()?;
    netns::run_in(netns::SWITCH, || {
        let socket = UnixDatagram::unbound().context("socket for an order")?;
        let sent = socket.send_to_addr(line.as_bytes(), &address()?);
        sent.map(drop).context("no relay takes orders: are the uplinks TUN devices?")
    })
}

fn address() -> Result<SocketAddr> {
    SocketAddr::from_abstract_name(NAME).context(NAME)
}

// === impl Orders ===

impl Orders {
    /// Of this thread's network namespace. Reads never wait.
    pub(super) fn open() -> Result<Self> {
        let socket = UnixDatagram::bind_addr(&address()?).context("socket for orders")?;
        socket.set_nonblocking(true).context("socket for orders")?;
        Ok(Self { socket })
    }

    /// Those that have come.
    pub(super) fn taken(&self) -> Vec<Order> {
        let mut buffer = [0; LONGEST];
        let mut next = || -> io::Result<String> {
            let length = self.socket.recv(&mut buffer)?;
            Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        std::iter::from_fn(|| next().ok()).filter_map(|line| line.parse().ok()).collect()
    }
}

impl AsFd for Orders {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

// === impl Order ===

impl FromStr for Order {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        match line.split_once(' ') {
            Some(("stop", namespace)) => Ok(Self::Stop(namespace.to_owned())),
            Some(("go", namespace)) => Ok(Self::Go(namespace.to_owned())),
            _ => Err(anyhow!("{line} is no order: stop NAMESPACE, go NAMESPACE")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_names_what_to_do_and_where() {
        assert_eq!("stop fltr-n1".parse::<Order>().unwrap(), Order::Stop("fltr-n1".to_owned()));
        assert_eq!("go fltr-n1".parse::<Order>().unwrap(), Order::Go("fltr-n1".to_owned()));
        for line in ["", "stop", "halt fltr-n1"] {
            assert!(line.parse::<Order>().is_err(), "{line}");
        }
    }
}
