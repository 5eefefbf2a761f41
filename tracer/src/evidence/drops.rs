use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What the kernel dropped in the window that was this node's to deliver.
///
/// Totals by place are exact; what is known of the packets is a lower bound where a table of the
/// programs was full.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drops {
    /// Packets by place and flow, most packets first, at most 1,000. Without the packets' own
    /// headers (see [`Drops::headers_read`]) an entry is a place.
    pub entries: Vec<Drop>,
    /// Entries that are not listed.
    pub left_out: u64,
    /// Packets of all entries, listed or not: exact.
    pub packets: u64,
    /// Packets among these that no entry names a flow of.
    pub other: u64,
    /// Packets that a healthy node drops too, counted nowhere else.
    #[serde(default)]
    pub noise: u64,
    /// Packets of other network namespaces that are none of this node's pods.
    pub elsewhere: u64,
    /// Packets that named neither a device nor a socket, and so no namespace.
    pub unplaced: u64,
    /// Calls that the kernel did not hand over, see `recursion_misses` of bpf(2).
    pub missed: u64,
    /// Flows that lost their entry in the programs' tables to newer ones.
    #[serde(default)]
    pub flow_evictions: u64,
    /// Whether the packets' own headers could be read (`bpf_probe_read_kernel`).
    pub headers_read: bool,
    /// Whether this kernel gives reasons (Linux 5.17 and newer).
    pub has_reasons: bool,
}

/// Packets that were dropped at one place, of one flow where that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drop {
    /// Name of the reason by the running kernel's BTF, without `SKB_DROP_REASON_`; `None` where the
    /// kernel gives none.
    pub reason: Option<String>,
    /// The function that dropped, without compiler suffixes; `None` where addresses are hidden.
    pub symbol: Option<String>,
    /// Name of the device that the packet was at; `None` when it had none, and in pods.
    pub interface: Option<String>,
    /// In whose network namespace.
    pub place: DropPlace,
    /// EtherType of the packet as it was dropped.
    pub ethertype: u16,
    /// Segments in the window.
    pub packets: u64,
    /// Segments until the read in the middle.
    pub early: u64,
    /// The packet's own headers, the inner ones where it was dropped encapsulated.
    pub flow: Option<DropFlow>,
    /// The outer headers of a packet that was dropped encapsulated.
    pub outer: Option<DropOuter>,
}

/// In whose network namespace a packet was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DropPlace {
    /// The node's own.
    Node,
    /// That of a pod of this node: the packet's local address lies in the node's pod CIDRs.
    Pod,
}

/// The 5-tuple of a dropped packet. Ports are 0 where the protocol has none, or where they were not
/// in the packet (a later fragment).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as in `Flow`")]
pub struct DropFlow {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// For ICMP the message's type.
    pub source_port: u16,
    /// For ICMP echo its identifier, for other ICMP the message's code.
    pub destination_port: u16,
}

/// The outer addresses of a dropped VXLAN packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct DropOuter {
    pub source: IpAddr,
    pub destination: IpAddr,
}
