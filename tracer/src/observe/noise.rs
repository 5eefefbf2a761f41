//! What a healthy node drops.

use crate::evidence::{Drop, DropFlow, DropPlace};

const ARP: u16 = 0x0806;
const ICMP: u8 = 1;
const IGMP: u8 = 2;
const TCP: u8 = 6;
const ICMPV6: u8 = 58;
/// ICMPv6 of a link's own: multicast listeners, routers, neighbours, redirects, and listeners again.
const LINK_MESSAGES: [u16; 9] = [130, 131, 132, 133, 134, 135, 136, 137, 143];
/// Replies to an echo, of ICMP and ICMPv6.
const ECHO_REPLIES: [(u8, u16); 2] = [(ICMP, 0), (ICMPV6, 129)];

/// Reasons that no delivery fails for: a socket is closed with packets in its queue, a listener of
/// raw frames has no room or no interest, the packet was not dropped at all.
const REASONS: [&str; 6] = [
    "QUEUE_PURGE",
    "PACKET_SOCK_ERROR",
    "SOCKET_FILTER",
    "CONSUMED",
    "NOT_DROPPED_YET",
    "SKB_CONSUMED",
];
/// The same where the kernel gives no reason: functions that do nothing else. The last are multicast
/// that nobody here has joined, and packets that never were on any network.
const SYMBOLS: [&str; 9] = [
    "ping_rcv",
    "packet_rcv",
    "packet_rcv_spkt",
    "tpacket_rcv",
    "skb_queue_purge",
    "skb_queue_purge_reason",
    "skb_release_data",
    "ip6_mc_input",
    "bpf_prog_test_run_skb",
];

/// Give echo replies to sockets, by `ping_rcv`.
const PINGS: [&str; 2] = ["icmp_rcv", "icmpv6_rcv"];

/// Where there is no reason, frees ICMPv6 that it has taken as if it had dropped it, a ping's requests
/// among them (net/ipv6/icmp.c, Linux 5.10 to 6.1).
const TAKEN: &str = "icmpv6_rcv";

/// Whether a healthy node drops this too, so that it says nothing. `overlays` are the names of
/// flannel's devices.
///
/// - What is not for one host: multicast, broadcast, a link's own messages; other protocols than
///   IP, but for ARP inside the tunnel, which flannel's nodes never need to ask.
/// - ICMPv6 that old kernels have taken.
/// - Answers to an echo that raw sockets have taken already (`ping_rcv`, `icmp_rcv`): where headers are
///   not read by the reason, which these functions have from `ping_rcv` alone (net/ipv4/icmp.c and
///   net/ipv6/icmp.c, Linux 6.12).
/// - What TCP has no use for: duplicates, the end of a connection. A segment without a socket is
///   a drop where the kernel can tell it from these (Linux 5.17).
/// - Frames for others that a switch floods (`OTHERHOST`), but for those on flannel's devices and
///   those that reach a pod with its own address: no switch is to blame for their MAC.
/// - What [`REASONS`] and [`SYMBOLS`] name.
#[must_use]
pub(super) fn is_noise(drop: &Drop, overlays: &[String]) -> bool {
    let reason = drop.reason.as_deref();
    let symbol = drop.symbol.as_deref().unwrap_or_default();
    let is_told = !matches!(reason, None | Some("NOT_SPECIFIED"));
    if reason.is_some_and(|reason| REASONS.contains(&reason)) || SYMBOLS.contains(&symbol) {
        return true;
    }
    let is_at_overlay = drop.interface.as_ref().is_some_and(|name| overlays.contains(name));
    if !is_ip(drop.ethertype) {
        return !(drop.ethertype == ARP && symbol == "vxlan_xmit");
    }
    let is_by_function = !is_told && matches!(symbol, "ip_rcv_core" | "ip6_rcv_core");
    let is_for_another = reason == Some("OTHERHOST") || is_by_function;
    (is_for_another && !is_at_overlay && drop.place == DropPlace::Node)
        || (!is_told && symbol == TAKEN)
        || is_of_tcp(drop, symbol, is_told)
        || (drop.flow.is_none() && reason == Some("NO_SOCKET") && PINGS.contains(&symbol))
        || drop.flow.is_some_and(|flow| is_unwanted(&flow, symbol))
}

const fn is_ip(ethertype: u16) -> bool {
    matches!(ethertype, 0x0800 | 0x86dd)
}

/// TCP's own reasons, and its functions where the kernel gives none.
fn is_of_tcp(drop: &Drop, symbol: &str, is_told: bool) -> bool {
    let is_tcp = drop.flow.is_none_or(|flow| flow.protocol == TCP);
    let by_reason = drop.reason.as_deref().is_some_and(|reason| reason.starts_with("TCP_"));
    is_tcp && (by_reason || (!is_told && symbol.starts_with("tcp_")))
}

fn is_unwanted(flow: &DropFlow, symbol: &str) -> bool {
    !is_unicast(flow)
        || flow.protocol == IGMP
        || (flow.protocol == ICMPV6 && LINK_MESSAGES.contains(&flow.source_port))
        || (symbol.starts_with("icmp") && ECHO_REPLIES.contains(&(flow.protocol, flow.source_port)))
}

fn is_unicast(flow: &DropFlow) -> bool {
    match flow.destination {
        std::net::IpAddr::V4(address) => {
            !address.is_multicast() && !address.is_broadcast() && !address.is_unspecified()
        }
        std::net::IpAddr::V6(address) => !address.is_multicast(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn flow(destination: &str, protocol: u8, port: u16) -> DropFlow {
        let destination: IpAddr = destination.parse().unwrap();
        let source = if destination.is_ipv4() { "10.244.1.2" } else { "fd00::1" }.parse().unwrap();
        DropFlow { source, destination, protocol, source_port: port, destination_port: 0 }
    }

    fn dropped(reason: Option<&str>, symbol: &str, flow: Option<DropFlow>) -> Drop {
        let is_ipv6 = flow.is_some_and(|flow| flow.destination.is_ipv6());
        Drop {
            reason: reason.map(str::to_owned),
            symbol: Some(symbol.to_owned()),
            interface: Some("cni0".to_owned()),
            place: DropPlace::Node,
            ethertype: if is_ipv6 { 0x86dd } else { 0x0800 },
            packets: 3,
            early: 1,
            flow,
            outer: None,
        }
    }

    fn noise(drop: &Drop) -> bool {
        is_noise(drop, &["flannel.1".to_owned()])
    }

    #[test]
    fn what_is_for_one_pod_and_dies_is_no_noise() {
        let udp = Some(flow("10.244.2.3", 17, 4000));
        let tcp = Some(flow("10.244.2.3", 6, 4000));
        let echo = Some(flow("10.244.2.3", 1, 8));
        for drop in [
            dropped(Some("NO_TX_TARGET"), "vxlan_xmit", udp),
            dropped(Some("NOT_SPECIFIED"), "vxlan_xmit", echo),
            dropped(None, "vxlan_xmit", tcp),
            dropped(Some("NETFILTER_DROP"), "nft_do_chain", tcp),
            dropped(None, "nf_hook_slow", udp),
            dropped(Some("NO_SOCKET"), "__udp4_lib_rcv", udp),
            dropped(Some("NO_SOCKET"), "__udp4_lib_rcv", None),
            dropped(Some("ICMP_CSUM"), "icmp_rcv", None),
            dropped(Some("NO_SOCKET"), "tcp_v4_rcv", tcp),
            dropped(Some("SOCKET_RCVBUFF"), "udp_queue_rcv_one_skb", udp),
            dropped(Some("NEIGH_FAILED"), "neigh_invalidate", echo),
            dropped(Some("IP_RPFILTER"), "ip_rcv_finish_core", udp),
            dropped(Some("NETFILTER_DROP"), "nft_do_chain", Some(flow("fd00::2", 58, 128))),
            dropped(Some("NETFILTER_DROP"), "nft_do_chain", Some(flow("10.244.2.3", 1, 0))),
            dropped(Some("IP_INNOROUTES"), "ip_error", None),
            dropped(Some("ICMP_CSUM"), "icmpv6_rcv", Some(flow("fd00::2", 58, 128))),
        ] {
            assert!(!noise(&drop), "{drop:?}");
        }
    }

    #[test]
    fn what_every_healthy_node_drops_is_noise() {
        let tcp = Some(flow("10.244.2.3", 6, 4000));
        let udp = Some(flow("10.244.2.3", 17, 4000));
        for drop in [
            dropped(Some("NO_SOCKET"), "ping_rcv", Some(flow("10.244.1.1", 1, 0))),
            dropped(Some("NO_SOCKET"), "icmp_rcv", Some(flow("10.244.1.1", 1, 0))),
            dropped(Some("NO_SOCKET"), "icmpv6_rcv", Some(flow("fd00::2", 58, 129))),
            dropped(Some("NO_SOCKET"), "icmp_rcv", None),
            dropped(Some("NOT_SPECIFIED"), "tcp_v4_rcv", tcp),
            dropped(None, "tcp_v4_rcv", tcp),
            dropped(Some("TCP_OLD_DATA"), "tcp_data_queue", tcp),
            dropped(Some("QUEUE_PURGE"), "skb_queue_purge_reason", udp),
            dropped(Some("NOT_SPECIFIED"), "skb_release_data", udp),
            dropped(Some("NOT_SPECIFIED"), "ip_rcv_finish_core", Some(flow("224.0.0.22", 2, 0))),
            dropped(Some("OTHERHOST"), "ip_rcv_core", udp),
            dropped(None, "ip_rcv_core", udp),
            dropped(None, "ip6_rcv_core", Some(flow("fd00::2", 17, 4000))),
            dropped(Some("PACKET_SOCK_ERROR"), "packet_rcv", udp),
            dropped(Some("NOT_SPECIFIED"), "ip6_mc_input", None),
            dropped(Some("NOT_SPECIFIED"), "bpf_prog_test_run_skb", udp),
            dropped(None, "icmpv6_rcv", Some(flow("fd00::2", 58, 128))),
            dropped(Some("NOT_SPECIFIED"), "icmpv6_rcv", Some(flow("fd00::2", 58, 1))),
            dropped(Some("NO_TX_TARGET"), "vxlan_xmit", Some(flow("ff02::2", 58, 133))),
            dropped(Some("NO_TX_TARGET"), "vxlan_xmit", Some(flow("fe80::1", 58, 136))),
            dropped(Some("NO_TX_TARGET"), "vxlan_xmit", Some(flow("255.255.255.255", 17, 67))),
        ] {
            assert!(noise(&drop), "{drop:?}");
        }
    }

    #[test]
    fn a_frame_for_another_mac_tells_something_on_flannels_device_and_in_its_pod_only() {
        let flow = Some(flow("10.244.2.3", 17, 1));
        for reason in [Some("OTHERHOST"), None] {
            let mut drop = dropped(reason, "ip_rcv_core", flow);
            drop.interface = Some("flannel.1".to_owned());
            assert!(!noise(&drop));
            drop.interface = Some("eth0".to_owned());
            assert!(noise(&drop));
            (drop.interface, drop.place) = (None, DropPlace::Pod);
            assert!(!noise(&drop));
        }
    }

    #[test]
    fn of_other_protocols_only_arp_inside_the_tunnel_tells_something() {
        let mut drop = dropped(Some("NO_TX_TARGET"), "vxlan_xmit", None);
        for (ethertype, is_noise) in [(ARP, false), (0, true), (0x88cc, true)] {
            drop.ethertype = ethertype;
            assert_eq!(noise(&drop), is_noise, "{ethertype:#x}");
        }
        drop.ethertype = ARP;
        drop.symbol = Some("arp_rcv".to_owned());
        assert!(noise(&drop));
    }
}
