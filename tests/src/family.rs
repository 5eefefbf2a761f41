//! Address families, and values of which each family has its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clap::ValueEnum;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::plan::Mac;

/// An address family: of nodes, pods and the tunnel between them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
pub enum Family {
    /// IPv4.
    #[default]
    V4,
    /// IPv6.
    V6,
}

/// The families of a cluster. Each has a tunnel of its own.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
pub enum Stack {
    /// IPv4 alone.
    #[default]
    V4,
    /// IPv6 alone.
    V6,
    /// Both beside each other.
    Dual,
}

/// One value for each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Both<A, B = A> {
    /// IPv4's.
    pub v4: A,
    /// IPv6's.
    pub v6: B,
}

/// An address of each family.
pub type Addresses = Both<Ipv4Addr, Ipv6Addr>;
/// A network of each family.
pub type Networks = Both<Ipv4Net, Ipv6Net>;

// === impl Family ===

impl Family {
    /// Bytes that VXLAN adds to a packet when it is carried over this family: the outer IP header,
    /// UDP, VXLAN and the inner Ethernet header.
    #[must_use]
    pub const fn vxlan_overhead(self) -> u32 {
        match self {
            Self::V4 => 50,
            Self::V6 => 70,
        }
    }

    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// Length of an IP header without options, bytes.
    #[must_use]
    pub const fn header(self) -> usize {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }

    /// Length of an address, bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// What nftables calls it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    /// The multicast addresses.
    #[must_use]
    pub const fn multicast(self) -> &'static str {
        match self {
            Self::V4 => "224.0.0.0/4",
            Self::V6 => "ff00::/8",
        }
    }

    /// The network that holds every address, which `ip` takes for the family's default route.
    #[must_use]
    pub const fn everything(self) -> &'static str {
        match self {
            Self::V4 => "0.0.0.0/0",
            Self::V6 => "::/0",
        }
    }

    /// The address that stands for any.
    #[must_use]
    pub const fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}

impl From<IpAddr> for Family {
    fn from(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

// === impl Stack ===

impl Stack {
    /// Its families, the one that flannel names its first device after before the other.
    #[must_use]
    pub const fn families(self) -> &'static [Family] {
        match self {
            Self::V4 => &[Family::V4],
            Self::V6 => &[Family::V6],
            Self::Dual => &[Family::V4, Family::V6],
        }
    }
}

// === impl Both ===

impl Addresses {
    /// That of one family.
    #[must_use]
    pub const fn of(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(self.v4),
            Family::V6 => IpAddr::V6(self.v6),
        }
    }
}

impl Networks {
    /// That of one family.
    #[must_use]
    pub const fn of(&self, family: Family) -> IpNet {
        match family {
            Family::V4 => IpNet::V4(self.v4),
            Family::V6 => IpNet::V6(self.v6),
        }
    }
}

impl Both<Mac> {
    /// That of one family.
    #[must_use]
    pub const fn of(&self, family: Family) -> Mac {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}
