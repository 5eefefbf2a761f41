//! Who answers for the address of a load balancer (a VIP), and who asks: what the programs count of
//! ARP and of IPv6 neighbour discovery.
//!
//! Counts are each CPU's own. Room is fixed for each VIP, so that a flood for one takes nothing from
//! another, and what finds none is added to a count of others: sums stay exact. Times are the kernel's
//! monotonic clock, in nanoseconds; 0 is never.

mod announcer;
mod client;

pub use self::{
    announcer::{Announcer, Owner},
    client::Client,
};
use crate::address::Address;

/// VIPs that are counted at most.
pub const VIPS: u32 = 256;
/// MACs that are told apart for each VIP; the rest are others.
pub const MACS: usize = 8;
/// Clients that are told apart for each VIP; the rest are others.
pub const CLIENTS: usize = 16;
/// Addresses that were announced and are no VIP yet.
pub const ANNOUNCED: u32 = 256;
/// Entries of the array that tells at once of most addresses that they are no VIP.
pub const HINTS: u32 = 1024;

/// A frame that comes in by a device.
pub const IN: usize = 0;
/// A frame that leaves by it.
pub const OUT: usize = 1;

/// An IPv4 or IPv6 address as the programs key by it: IPv4 as IPv6 maps it (RFC 4291, 2.5.5.2).
pub type VipAddress = [u32; 4];

/// What stands before an IPv4 address.
const MAPPED: u32 = 0xffff_u32.to_be();

/// An IPv4 address as a key.
#[inline(always)]
#[must_use]
pub const fn mapped(address: u32) -> VipAddress {
    [0, 0, MAPPED, address]
}

/// Whether it is the unspecified address, of either IP version: who asks with it has none yet.
#[inline(always)]
#[must_use]
pub const fn is_unspecified(address: &VipAddress) -> bool {
    let [a, b, c, d] = *address;
    a == 0 && b == 0 && (c == 0 || c == MAPPED) && d == 0
}

/// The address that a key stands for.
#[must_use]
pub fn ip(address: VipAddress) -> core::net::IpAddr {
    address.ip().to_canonical()
}

/// The key of an address.
#[must_use]
pub fn key(ip: core::net::IpAddr) -> VipAddress {
    match ip {
        core::net::IpAddr::V4(ip) => mapped(u32::of(ip)),
        core::net::IpAddr::V6(ip) => <[u32; 4]>::of(ip),
    }
}

/// Where in the array of hints an address is.
#[inline(always)]
#[must_use]
pub const fn hint(address: &VipAddress) -> u32 {
    let [a, b, _, d] = *address;
    let mixed = (d ^ a ^ b.rotate_left(7)).wrapping_mul(0x9e37_79b1);
    mixed >> 22
}

/// A MAC as a number: its three halves as they lie in memory, the first one lowest.
#[inline(always)]
#[must_use]
pub const fn mac_number(halves: [u16; 3]) -> u64 {
    let [a, b, c] = halves;
    a as u64 | (b as u64) << 16 | (c as u64) << 32
}

/// The MAC that a number stands for.
#[must_use]
pub const fn mac(number: u64) -> [u8; 6] {
    let [a, b] = (number as u16).to_ne_bytes();
    let [c, d] = ((number >> 16) as u16).to_ne_bytes();
    let [e, f] = ((number >> 32) as u16).to_ne_bytes();
    [a, b, c, d, e, f]
}

/// What one CPU has counted of a VIP. Arrays of two are by direction, [`IN`] and [`OUT`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VipCounts {
    requests: [u64; 2],
    replies: [u64; 2],
    gratuitous: [u64; 2],
    other_requests: u64,
    announcers: [Announcer; MACS],
    clients: [Client; CLIENTS],
}

const _: () = {
    assert!(size_of::<VipCounts>() == 56 + MACS * 56 + CLIENTS * 64);
    assert!(align_of::<VipCounts>() == 8);
    assert!(HINTS == 1 << 10);
};

impl VipCounts {
    /// Nothing yet.
    pub const NONE: Self = Self {
        requests: [0; 2],
        replies: [0; 2],
        gratuitous: [0; 2],
        other_requests: 0,
        announcers: [Announcer::NONE; MACS],
        clients: [Client::NONE; CLIENTS],
    };

    /// Counts a request. Who has no address yet asks whether the VIP is free, and is no client.
    #[inline(always)]
    pub fn request(&mut self, direction: usize, address: VipAddress, mac: u64, now: u64) {
        self.requests[direction & 1] += 1;
        if direction == OUT || is_unspecified(&address) {
            return;
        }
        for client in &mut self.clients {
            if client.takes(&address) {
                client.ask(address, mac, now);
                return;
            }
        }
        // Places are given out in order, so that all are taken now.
        for client in &mut self.clients {
            if client.is_idle(now) {
                self.other_requests += client.requests();
                *client = Client::NONE;
                client.ask(address, mac, now);
                return;
            }
        }
        self.other_requests += 1;
    }

    /// Counts that `mac` says the VIP is its own: by a reply, or unasked.
    #[inline(always)]
    pub fn claim(&mut self, direction: usize, mac: u64, is_gratuitous: bool, now: u64) {
        // Both are written always: which of them must not depend on the packet, because the
        // verifier takes that only with CAP_PERFMON. So it is in `Announcer`.
        self.gratuitous[direction & 1] += u64::from(is_gratuitous);
        self.replies[direction & 1] += u64::from(!is_gratuitous);
        for announcer in &mut self.announcers {
            if announcer.takes(mac) {
                announcer.claim(direction, mac, is_gratuitous, now);
                return;
            }
        }
    }

    /// Requests.
    #[must_use]
    pub const fn requests(&self) -> [u64; 2] {
        self.requests
    }

    /// Replies, of all MACs.
    #[must_use]
    pub const fn replies(&self) -> [u64; 2] {
        self.replies
    }

    /// What was said unasked, by all MACs.
    #[must_use]
    pub const fn gratuitous(&self) -> [u64; 2] {
        self.gratuitous
    }

    /// Requests of clients that are not told apart, or are not any more.
    #[must_use]
    pub const fn other_requests(&self) -> u64 {
        self.other_requests
    }

    /// Who says that the VIP is its own.
    pub fn announcers(&self) -> impl Iterator<Item = &Announcer> {
        self.announcers.iter().filter(|it| it.mac() != 0)
    }

    /// Who asks.
    pub fn clients(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter().filter(|it| it.requests() != 0)
    }
}

/// An address that was announced and is no VIP yet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// See [`mac_number`].
    pub mac: u64,
    /// When.
    pub time: u64,
    /// Index of the device.
    pub ifindex: u32,
    /// [`IN`] or [`OUT`].
    pub direction: u32,
}

const _: () = assert!(size_of::<Announced>() == 24);

#[cfg(test)]
mod tests;
