//! Counters of the programs' own doings, and of what they could not parse.

use crate::stage::STAGES;

/// Index into [`crate::names::COUNTERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// Flow entries made; minus entries present = evictions.
    FlowInserts = 0,
    /// Flow entries that the kernel refused.
    FlowInsertFailures = 1,
    /// Packets read by copy because their linear part ended too early.
    SlowParse = 2,
    /// Packets worth a closer look for which no entry was left.
    OtherSights = 3,
    /// DNS messages whose count found no entry.
    OtherDns = 4,
}

/// Counters of [`Counter`].
pub const COUNTERS: u32 = 5;

/// Why a packet could not be parsed. "Truncated" means that the packet ends inside a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum ParseError {
    /// Ends inside the Ethernet header or a VLAN tag.
    TruncatedEthernet = 0,
    /// More than two VLAN tags.
    VlanDepth = 1,
    /// Ends inside the IPv4 header.
    TruncatedIpv4 = 2,
    /// EtherType IPv4, but another version in the header.
    Ipv4Version = 3,
    /// Header length below 20 bytes.
    Ipv4HeaderLength = 4,
    /// Total length below the header length.
    Ipv4TotalLength = 5,
    /// Ends inside the UDP, TCP or ICMP header.
    TruncatedTransport = 6,
    /// Ends inside the VXLAN header.
    TruncatedVxlan = 7,
    /// VXLAN header without the I flag.
    VxlanFlags = 8,
    /// Ends inside the inner Ethernet header.
    TruncatedInnerEthernet = 9,
    /// Ends inside the inner IPv4 header.
    TruncatedInnerIpv4 = 10,
    /// The inner IPv4 header is malformed.
    InnerIpv4 = 11,
    /// Ends inside the inner UDP, TCP or ICMP header.
    TruncatedInnerTransport = 12,
    /// Ends inside the IPv6 header or an extension header.
    TruncatedIpv6 = 13,
    /// EtherType IPv6, but another version in the header.
    Ipv6Version = 14,
    /// More than four extension headers.
    Ipv6Extensions = 15,
    /// Ends inside the inner IPv6 header or an extension header.
    TruncatedInnerIpv6 = 16,
    /// The inner IPv6 header is malformed.
    InnerIpv6 = 17,
    /// A datagram of port 53 that ends inside a DNS header.
    TruncatedDns = 18,
    /// A datagram of port 53 that is neither a query to it nor an answer from it.
    DnsDirection = 19,
}

/// Kinds of [`ParseError`].
pub const PARSE_ERRORS: usize = 20;

impl ParseError {
    /// All kinds, by index.
    pub const ALL: [Self; PARSE_ERRORS] = [
        Self::TruncatedEthernet,
        Self::VlanDepth,
        Self::TruncatedIpv4,
        Self::Ipv4Version,
        Self::Ipv4HeaderLength,
        Self::Ipv4TotalLength,
        Self::TruncatedTransport,
        Self::TruncatedVxlan,
        Self::VxlanFlags,
        Self::TruncatedInnerEthernet,
        Self::TruncatedInnerIpv4,
        Self::InnerIpv4,
        Self::TruncatedInnerTransport,
        Self::TruncatedIpv6,
        Self::Ipv6Version,
        Self::Ipv6Extensions,
        Self::TruncatedInnerIpv6,
        Self::InnerIpv6,
        Self::TruncatedDns,
        Self::DnsDirection,
    ];

    /// The name in metrics and in saved evidence.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TruncatedEthernet => "truncated_ethernet",
            Self::VlanDepth => "vlan_depth",
            Self::TruncatedIpv4 => "truncated_ipv4",
            Self::Ipv4Version => "ipv4_version",
            Self::Ipv4HeaderLength => "ipv4_header_length",
            Self::Ipv4TotalLength => "ipv4_total_length",
            Self::TruncatedTransport => "truncated_transport",
            Self::TruncatedVxlan => "truncated_vxlan",
            Self::VxlanFlags => "vxlan_flags",
            Self::TruncatedInnerEthernet => "truncated_inner_ethernet",
            Self::TruncatedInnerIpv4 => "truncated_inner_ipv4",
            Self::InnerIpv4 => "inner_ipv4",
            Self::TruncatedInnerTransport => "truncated_inner_transport",
            Self::TruncatedIpv6 => "truncated_ipv6",
            Self::Ipv6Version => "ipv6_version",
            Self::Ipv6Extensions => "ipv6_extensions",
            Self::TruncatedInnerIpv6 => "truncated_inner_ipv6",
            Self::InnerIpv6 => "inner_ipv6",
            Self::TruncatedDns => "truncated_dns",
            Self::DnsDirection => "dns_direction",
        }
    }

    /// Whether more bytes could have helped: the packet, or its linear part, ended too early.
    #[inline(always)]
    #[must_use]
    pub const fn is_truncation(self) -> bool {
        matches!(
            self,
            Self::TruncatedEthernet
                | Self::TruncatedIpv4
                | Self::TruncatedTransport
                | Self::TruncatedVxlan
                | Self::TruncatedInnerEthernet
                | Self::TruncatedInnerIpv4
                | Self::TruncatedInnerTransport
                | Self::TruncatedIpv6
                | Self::TruncatedInnerIpv6
                | Self::TruncatedDns
        )
    }
}

/// Entries of [`crate::names::PARSE_ERRORS`].
pub const PARSE_ERROR_ENTRIES: u32 = (STAGES * PARSE_ERRORS) as u32;

/// Index of a kind at a stage in [`crate::names::PARSE_ERRORS`].
#[inline(always)]
#[must_use]
pub const fn parse_error_index(stage: usize, kind: ParseError) -> u32 {
    (stage * PARSE_ERRORS) as u32 + kind as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_stands_at_its_index() {
        for (index, kind) in ParseError::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index, "{}", kind.name());
        }
    }
}
