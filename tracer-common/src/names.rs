//! Names of maps, globals and programs in the eBPF objects.

/// Read-only global: [`crate::config::Config`].
pub const CONFIG: &str = "CONFIG";
/// Per-CPU LRU hash of IPv4 flows: [`crate::flow::FlowKey`] → [`crate::flow::FlowValue`].
pub const FLOWS4: &str = "FLOWS4";
/// The same of IPv6 flows.
pub const FLOWS6: &str = "FLOWS6";
/// Per-CPU array by peer slot: [`crate::peer::PeerValue`].
pub const PEERS: &str = "PEERS";
/// LPM trie: IPv4 pod CIDR → peer slot (`u32`).
pub const PEER_SLOTS4: &str = "PEER_SLOTS4";
/// LPM trie: IPv6 pod CIDR → peer slot (`u32`).
pub const PEER_SLOTS6: &str = "PEER_SLOTS6";
/// Per-CPU array by [`crate::counter::Counter`] index: `u64`.
pub const COUNTERS: &str = "COUNTERS";
/// Per-CPU array by [`crate::counter::parse_error_index`]: `u64`.
pub const PARSE_ERRORS: &str = "PARSE_ERRORS";
/// Per-CPU hash of what is seen of the tunnel: [`crate::sight::SightKey`] → packets (`u64`).
pub const SIGHTS: &str = "SIGHTS";
/// The same of what pods can bring about by themselves.
pub const POD_SIGHTS: &str = "POD_SIGHTS";
/// Program array: the programs that look closely, in the order of [`LOOKS`].
pub const CLOSER: &str = "CLOSER";
/// Read-only global: 1 when the stages' programs may call those that look closely, else 0.
pub const LOOKING: &str = "LOOKING";

/// Array of queries that wait for their answer: [`crate::dns::DnsSlot`].
pub const DNS_SLOTS: &str = "DNS_SLOTS";
/// Per-CPU hash: [`crate::dns::DnsKey`] → [`crate::dns::DnsCount`].
pub const DNS_COUNTS: &str = "DNS_COUNTS";
/// Program array: the programs that pair DNS, in the order of [`PAIRS`].
pub const DNS_PAIRS: &str = "DNS_PAIRS";
/// Ring buffer of [`crate::sample::SampleRecord`].
pub const SAMPLES: &str = "SAMPLES";
/// Per-CPU array by stage: [`crate::sample::SampleCounts`].
pub const SAMPLE_COUNTS: &str = "SAMPLE_COUNTS";
/// LRU hash: who has a ticket for one of the first samples of a sight.
pub const SIGHT_TICKETS: &str = "SIGHT_TICKETS";
/// Read-only global: one packet in so many is sampled; 0 for none, and for no anomaly either.
pub const SAMPLE_EVERY: &str = "SAMPLE_EVERY";
/// Read-only global: 1 where the kernel lends its coarse clock (Linux 5.11), else 0.
pub const COARSE_CLOCK: &str = "COARSE_CLOCK";

/// Bridge ingress.
pub const POD_OUT: &str = "pod_out";
/// Overlay device egress.
pub const OVERLAY_OUT: &str = "overlay_out";
/// Uplink egress, for devices with an Ethernet header.
pub const WIRE_OUT: &str = "wire_out";
/// Uplink egress, for devices without one.
pub const WIRE_OUT_L3: &str = "wire_out_l3";
/// Uplink ingress, for devices with an Ethernet header.
pub const WIRE_IN: &str = "wire_in";
/// Uplink ingress, for devices without one.
pub const WIRE_IN_L3: &str = "wire_in_l3";
/// Overlay device ingress.
pub const OVERLAY_IN: &str = "overlay_in";
/// Bridge egress.
pub const POD_IN: &str = "pod_in";

/// All programs of the stages' object.
pub const PROGRAMS: [&str; 8] =
    [POD_OUT, OVERLAY_OUT, WIRE_OUT, WIRE_OUT_L3, WIRE_IN, WIRE_IN_L3, OVERLAY_IN, POD_IN];

/// The programs that look closely at a rare packet, by their number in [`CLOSER`]: at an uplink's
/// ingress with and without an Ethernet header, at its egress with and without one, at the overlay
/// device's ingress, at the bridge's ingress and egress.
pub const LOOKS: [&str; 7] = [
    "look_wire_in",
    "look_wire_in_l3",
    "look_wire_out",
    "look_wire_out_l3",
    "look_overlay_in",
    "look_pod_out",
    "look_pod_in",
];

/// The programs that pair DNS queries with their answers, by their number in [`DNS_PAIRS`]: the
/// stages in their order, and those of uplinks without an Ethernet header.
pub const PAIRS: [&str; 8] = [
    "dns_pod_out",
    "dns_overlay_out",
    "dns_wire_out",
    "dns_wire_in",
    "dns_overlay_in",
    "dns_pod_in",
    "dns_wire_out_l3",
    "dns_wire_in_l3",
];

/// Whether a program of the stages' object serves uplinks without an Ethernet header alone.
#[must_use]
pub fn is_layer3(program: &str) -> bool {
    program.ends_with("_l3")
}

/// Read-only global of the drops' object: [`crate::drop::Layout`].
pub const DROP_LAYOUT: &str = "LAYOUT";
/// Per-CPU array of [`crate::drop::DropSlot`]: every CPU fills its own.
pub const DROP_PLACES_TABLE: &str = "PLACES";
/// Per-CPU LRU hash of IPv4 flows: [`crate::drop::DropFlowKey`] → [`crate::drop::DropFlowValue`].
pub const DROP_FLOWS4: &str = "DROP_FLOWS4";
/// The same of IPv6 flows.
pub const DROP_FLOWS6: &str = "DROP_FLOWS6";
/// Per-CPU array by [`crate::drop::DropTotal`] index: `u64`.
pub const DROP_TOTALS: &str = "DROP_TOTALS";
/// Counts drops by typed loads alone.
pub const DROP_PLACES: &str = "drop_places";
/// Counts drops and reads the packets' own headers.
pub const DROP_PACKETS: &str = "drop_packets";
/// The tracepoint that both programs are for.
pub const KFREE_SKB: &str = "kfree_skb";

/// Hash: address of a VIP ([`crate::vip::key`]) → its number (`u32`).
pub const VIPS: &str = "VIPS";
/// Array by [`crate::vip::hint`]: 0 where no VIP is (`u32`).
pub const VIP_HINTS: &str = "VIP_HINTS";
/// Per-CPU array by number of a VIP: [`crate::vip::VipCounts`].
pub const VIP_COUNTS: &str = "VIP_COUNTS";
/// Array by number of a VIP: [`crate::vip::Owner`].
pub const VIP_OWNERS: &str = "VIP_OWNERS";
/// Hash: address that was announced and is no VIP yet → [`crate::vip::Announced`].
pub const VIP_ANNOUNCED: &str = "VIP_ANNOUNCED";
/// Per-CPU array of one entry: announcements for which no entry was left (`u64`).
pub const VIP_UNANNOUNCED: &str = "VIP_UNANNOUNCED";
/// Ingress of a device on which VIPs may be.
pub const VIP_IN: &str = "vip_in";
/// Egress of such a device.
pub const VIP_OUT: &str = "vip_out";
