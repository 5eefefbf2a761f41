//! In place of a switch, where the uplinks are TUN devices: one process holds them all and carries
//! packets by their destination address. What is for nobody is swallowed.
//!
//! Packets that follow one another as datagrams of one outer flow are joined into one, as
//! tailscaled's receive offload does ([`datagrams`]): so a node receives packets of many segments
//! whose number nobody has counted and whose linear part ends after the outer UDP header.

pub(crate) mod checksum;
mod datagrams;
mod orders;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsFd as _,
    str::FromStr,
};

use anyhow::{Context as _, Result, anyhow};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

pub use self::orders::order;
use self::{
    datagrams::Train,
    orders::{Order, Orders},
};
use crate::{
    netns, process,
    tun::{LONGEST, Tun, VIRTIO},
};

/// Packets that are taken from one device before it is another's turn.
const TURN: usize = 128;

/// A device, and what lies behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Where the device is.
    pub namespace: String,
    /// Its name.
    pub device: String,
    /// Destinations that are sent to it.
    pub addresses: Vec<IpAddr>,
}

/// A device that is held, and what is on its way to it.
struct Port {
    namespace: String,
    tun: Tun,
    addresses: Vec<IpAddr>,
    train: Train,
    is_gone: bool,
    /// Its packets are left where they are.
    is_stuck: bool,
}

/// Starts a relay as a process of the lab; it ends with the lab, or with the last of its devices.
///
/// # Errors
/// When it cannot be started.
pub fn start(ends: &[End]) -> Result<()> {
    let ends: Vec<String> = ends.iter().map(End::to_string).collect();
    let arguments: Vec<&str> =
        ["relay"].into_iter().chain(ends.iter().map(String::as_str)).collect();
    process::spawn(netns::SWITCH, &process::agent()?, &arguments)
}

/// Carries packets until the last device is gone.
///
/// # Errors
/// When a device cannot be held.
pub fn run(ends: &[End]) -> Result<()> {
    let mut ports = ends.iter().map(Port::open).collect::<Result<Vec<_>>>()?;
    if ports.iter().any(|port| !port.tun.takes_datagrams) {
        println!("plain: this kernel takes no packets of several datagrams (Linux 6.2)");
    }
    let orders = Orders::open()?;
    let mut buffer = vec![0; LONGEST];
    while ports.iter().any(|port| !port.is_gone) {
        for index in ready(&mut ports, &orders)? {
            carry(&mut ports, index, &mut buffer);
            ports.iter_mut().for_each(Port::depart);
        }
        for order in orders.taken() {
            obey(&mut ports, &order);
        }
    }
    Ok(())
}

/// Has the devices of a namespace read, or left alone.
fn obey(ports: &mut [Port], order: &Order) {
    let (Order::Stop(namespace) | Order::Go(namespace)) = order;
    for port in ports.iter_mut().filter(|port| port.namespace == *namespace) {
        port.is_stuck = matches!(order, Order::Stop(_));
    }
}

/// Waits for packets or orders; devices that are gone are marked.
fn ready(ports: &mut [Port], orders: &Orders) -> Result<Vec<usize>> {
    let open: Vec<usize> = (0..ports.len()).filter(|index| !ports[*index].is_gone).collect();
    let mut waiting: Vec<PollFd<'_>> =
        open.iter().map(|it| PollFd::new(ports[*it].tun.as_fd(), ports[*it].awaited())).collect();
    waiting.push(PollFd::new(orders.as_fd(), PollFlags::POLLIN));
    match poll(&mut waiting, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error).context("wait for packets"),
    }
    let events: Vec<PollFlags> = waiting.iter().filter_map(PollFd::revents).collect();
    let mut ready = Vec::new();
    for (index, events) in open.into_iter().zip(events) {
        ports[index].is_gone = events.contains(PollFlags::POLLERR);
        if events.contains(PollFlags::POLLIN) {
            ready.push(index);
        }
    }
    Ok(ready)
}

/// Takes what a device has, for one turn.
fn carry(ports: &mut [Port], from: usize, buffer: &mut [u8]) {
    for _ in 0..TURN {
        // Nothing more to read, or gone: poll tells which.
        let Ok(length) = ports[from].tun.read(buffer) else { return };
        let packet = &mut buffer[..length];
        checksum::complete(packet);
        let to = packet
            .get(VIRTIO..)
            .and_then(destination)
            .and_then(|address| ports.iter().position(|port| port.addresses.contains(&address)));
        if let Some(to) = to.filter(|to| *to != from) {
            ports[to].send(packet);
        }
    }
}

/// Where an IP packet of either version goes.
fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(Ipv4Addr::from(*packet.get(16..)?.first_chunk::<4>()?).into()),
        6 => Some(Ipv6Addr::from(*packet.get(24..)?.first_chunk::<16>()?).into()),
        _ => None,
    }
}

// === impl Port ===

impl Port {
    fn open(end: &End) -> Result<Self> {
        let tun = netns::run_in(&end.namespace, || Tun::open(&end.device))
            .with_context(|| end.to_string())?;
        Ok(Self {
            namespace: end.namespace.clone(),
            tun,
            addresses: end.addresses.clone(),
            train: Train::default(),
            is_gone: false,
            is_stuck: false,
        })
    }

    /// That a device is gone is told all the same.
    const fn awaited(&self) -> PollFlags {
        if self.is_stuck { PollFlags::empty() } else { PollFlags::POLLIN }
    }

    /// Joins a packet to what is on its way, or sends that first.
    fn send(&mut self, packet: &[u8]) {
        if self.tun.takes_datagrams && self.train.join(packet) {
            return;
        }
        self.depart();
        self.train.start(packet);
    }

    /// Sends what is on its way.
    fn depart(&mut self) {
        if let Some(packet) = self.train.take() {
            // A device that is down loses it, as a cable would.
            drop(self.tun.write(packet));
        }
    }
}

// === impl End ===

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.namespace, self.device)?;
        self.addresses.iter().try_for_each(|address| write!(f, ",{address}"))
    }
}

impl FromStr for End {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split(',');
        let mut name = || words.next().map(str::to_owned).filter(|word| !word.is_empty());
        let (namespace, device) =
            name().zip(name()).ok_or_else(|| anyhow!("{text} is no NAMESPACE,DEVICE,ADDRESS.."))?;
        let addresses = words.map(str::parse).collect::<Result<_, _>>();
        Ok(Self { namespace, device, addresses: addresses.with_context(|| text.to_owned())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_read_back() {
        for text in ["fltr-n1,tailscale0,192.168.1.2,fd00::1", "fltr-n2,eth0"] {
            assert_eq!(text.parse::<End>().unwrap().to_string(), text);
        }
        for text in ["", "fltr-n1", "fltr-n1,,10.0.0.1", "fltr-n1,eth0,ten"] {
            assert!(text.parse::<End>().is_err(), "{text}");
        }
    }

    #[test]
    fn both_versions_have_a_destination_and_noise_has_none() {
        let mut packet = vec![0; 40];
        packet[0] = 0x45;
        packet[16..20].copy_from_slice(&[10, 1, 2, 3]);
        assert_eq!(destination(&packet), Some("10.1.2.3".parse().unwrap()));
        packet[0] = 0x60;
        packet[24..40].copy_from_slice(&[0xfd; 16]);
        assert_eq!(destination(&packet), Some(Ipv6Addr::from([0xfd; 16]).into()));
        assert_eq!(destination(&packet[..39]), None);
        assert_eq!(destination(&[]), None);
        assert_eq!(destination(&[0; 40]), None);
    }
}
