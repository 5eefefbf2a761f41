use std::net::IpAddr;

use ipnet::IpNet;

/// An IP version. flannel has a VXLAN device, and entries of its own, for each that it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, IPv4 first.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// That of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// That of a network.
    #[must_use]
    pub const fn of_net(network: IpNet) -> Self {
        match network {
            IpNet::V4(_) => Self::V4,
            IpNet::V6(_) => Self::V6,
        }
    }

    /// `IPv4` or `IPv6`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// 4 or 6.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }

    /// Bytes that a packet grows by in flannel's tunnel of this IP version: inner Ethernet, VXLAN, UDP,
    /// and the outer IP header.
    #[must_use]
    pub const fn tunnel_overhead(self) -> u32 {
        let ip = match self {
            Self::V4 => 20,
            Self::V6 => 40,
        };
        14 + 8 + 8 + ip
    }

    /// Bits of an address: the prefix length of a single host.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}
