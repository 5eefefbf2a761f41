use serde::{Deserialize, Serialize};

/// What the kernel's own counters rose by in the window, and settings that stand beside them. A
/// value is `None`, and a list empty, where it could not be read: why is in `Evidence.unseen`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Counters of the node's devices.
    pub devices: Vec<DeviceCounters>,
    /// Queues of the uplinks.
    pub queues: Vec<QueueCounters>,
    /// Counters of IP, UDP and TCP.
    pub snmp: Option<SnmpCounters>,
    /// The connection tracking table.
    pub conntrack: Option<Conntrack>,
    /// The neighbour tables, IPv4's first.
    pub neighbour_tables: Vec<NeighbourTable>,
    /// `rp_filter`, by device; the entry without a device is `conf.all`.
    pub rp_filter: Vec<RpFilter>,
    /// Whether iptables sees what is bridged: `net.bridge.bridge-nf-call-iptables`; `None` where
    /// br_netfilter is absent.
    pub bridge_nf_call: Option<bool>,
    /// Whether the two lines above could be read at all.
    pub settings_read: bool,
    /// Bridges whose own setting has iptables see what they bridge (`nf_call_iptables`), whatever
    /// `bridge_nf_call` says.
    #[serde(default)]
    pub bridges_calling: Vec<String>,
}

/// Counters of one device: what they rose by in the window, and `total` what they were at its end.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the kernel's own names, struct rtnl_link_stats64")]
pub struct DeviceCounters {
    /// Device name.
    pub interface: String,
    /// Device number.
    #[serde(default)]
    pub ifindex: u32,
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub rx_dropped: u64,
    pub tx_dropped: u64,
    pub rx_errors: u64,
    pub tx_errors: u64,
    pub tx_carrier_errors: u64,
    pub rx_frame_errors: u64,
    /// `tx_dropped` at the end of the window, since the device was made.
    pub tx_dropped_total: u64,
    /// `rx_packets` at the end of the window, since the device was made.
    pub rx_packets_total: u64,
}

/// The queue of a device.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueCounters {
    /// Device name.
    pub interface: String,
    /// Device number.
    #[serde(default)]
    pub ifindex: u32,
    /// Kind of the root qdisc, e.g. `fq_codel`, `tbf`.
    pub kind: String,
    /// Packets dropped in the window.
    pub dropped: u64,
    /// Times the queue was over its limit in the window.
    pub overlimits: u64,
}

/// What counters of `/proc/net/snmp`, `/proc/net/netstat` and `/proc/net/snmp6` rose by, IPv4's and
/// IPv6's together.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the kernel's own names")]
pub struct SnmpCounters {
    pub ip_in_header_errors: u64,
    pub ip_in_address_errors: u64,
    pub ip_in_no_routes: u64,
    pub ip_out_no_routes: u64,
    pub ip_in_checksum_errors: u64,
    pub ip_fragment_fails: u64,
    pub ip_fragments_created: u64,
    pub ip_reassembly_fails: u64,
    pub udp_no_ports: u64,
    pub udp_in_errors: u64,
    pub udp_in_checksum_errors: u64,
    pub udp_receive_buffer_errors: u64,
    pub tcp_ext_reverse_path_filter: u64,
}

/// The connection tracking table of the namespace.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conntrack {
    /// Entries now.
    pub entries: u64,
    /// Most entries.
    pub most: u64,
    /// Packets dropped in the window because there was no room.
    pub dropped: u64,
    /// Entries in the window that lost a race.
    pub insert_failed: u64,
}

/// A neighbour table of the kernel, one for all namespaces.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourTable {
    /// 4 or 6.
    pub family: u8,
    /// Entries now.
    pub entries: u64,
    /// `gc_thresh3`: most entries.
    pub most: u64,
    /// Entries refused in the window because the table was full.
    pub refused: u64,
}

/// `net.ipv4.conf.X.rp_filter`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RpFilter {
    /// Device name; `None` for `conf.all`.
    pub interface: Option<String>,
    /// 0 off, 1 strict, 2 loose. The greater of `all` and the device's holds.
    pub mode: u8,
}
