//! /proc/net/snmp, netstat and snmp6: what IP, UDP and TCP have counted since the namespace was
//! made.

use std::{collections::HashMap, fs, io};

use crate::evidence::SnmpCounters;

/// Of the namespace of the calling thread; `/proc/net` is that of the process.
const PLACE: &str = "/proc/thread-self/net";

/// Reads the counters of IPv4 and IPv6. A kernel without IPv6 has none of it.
pub(super) fn read() -> io::Result<SnmpCounters> {
    let text = |name: &str| fs::read_to_string(format!("{PLACE}/{name}"));
    let mut numbers = pairs_of_lines(&text("snmp")?);
    numbers.extend(pairs_of_lines(&text("netstat")?));
    numbers.extend(lines(&text("snmp6").unwrap_or_default()));
    Ok(counters(&numbers))
}

/// A line of names and below it one of values, both after the group's name: `Ip: Forwarding ..`.
fn pairs_of_lines(text: &str) -> HashMap<String, u64> {
    let mut lines = text.lines();
    let mut numbers = HashMap::new();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (mut names, values) = (names.split_whitespace(), values.split_whitespace());
        let group = names.next().unwrap_or_default().trim_end_matches(':');
        let named = names.zip(values.skip(1));
        // Not all of them are counters: Tcp's MaxConn is -1.
        numbers.extend(
            named.filter_map(|(name, value)| Some((format!("{group}{name}"), value.parse().ok()?))),
        );
    }
    numbers
}

/// A name and its value in each line: `Ip6InReceives 42`.
fn lines(text: &str) -> HashMap<String, u64> {
    let number = |line: &str| {
        let (name, value) = line.split_once(char::is_whitespace)?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(number).collect()
}

fn counters(numbers: &HashMap<String, u64>) -> SnmpCounters {
    let sum = |names: &[&str]| names.iter().filter_map(|name| numbers.get(*name)).sum();
    SnmpCounters {
        ip_in_header_errors: sum(&["IpInHdrErrors", "Ip6InHdrErrors"]),
        ip_in_address_errors: sum(&["IpInAddrErrors", "Ip6InAddrErrors"]),
        ip_in_no_routes: sum(&["IpExtInNoRoutes", "Ip6InNoRoutes"]),
        ip_out_no_routes: sum(&["IpOutNoRoutes", "Ip6OutNoRoutes"]),
        // IPv6 has no checksum of its own.
        ip_in_checksum_errors: sum(&["IpExtInCsumErrors"]),
        ip_fragment_fails: sum(&["IpFragFails", "Ip6FragFails"]),
        ip_fragments_created: sum(&["IpFragCreates", "Ip6FragCreates"]),
        ip_reassembly_fails: sum(&["IpReasmFails", "Ip6ReasmFails"]),
        udp_no_ports: sum(&["UdpNoPorts", "Udp6NoPorts"]),
        udp_in_errors: sum(&["UdpInErrors", "Udp6InErrors"]),
        udp_in_checksum_errors: sum(&["UdpInCsumErrors", "Udp6InCsumErrors"]),
        udp_receive_buffer_errors: sum(&["UdpRcvbufErrors", "Udp6RcvbufErrors"]),
        tcp_ext_reverse_path_filter: sum(&["TcpExtIPReversePathFilter"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_group_and_name_in_any_order() {
        let snmp = "Ip: Forwarding FragFails InHdrErrors\nIp: 1 7 2\n\
                    Tcp: MaxConn InErrs\nTcp: -1 4\n\
                    Udp: InDatagrams NoPorts InErrors\nUdp: 900 8 9\n\
                    UdpLite: NoPorts\nUdpLite: 1000\n";
        let netstat = "TcpExt: SyncookiesSent IPReversePathFilter\nTcpExt: 0 12\n\
                       IpExt: InNoRoutes InCsumErrors\nIpExt: 13 14\n";
        let snmp6 = "Ip6InReceives                   \t42\nIp6FragFails \t3\nUdp6NoPorts \t1\n";
        let mut numbers = pairs_of_lines(snmp);
        numbers.extend(pairs_of_lines(netstat));
        numbers.extend(lines(snmp6));
        let expected = SnmpCounters {
            ip_in_header_errors: 2,
            ip_in_no_routes: 13,
            ip_in_checksum_errors: 14,
            ip_fragment_fails: 10,
            udp_no_ports: 9,
            udp_in_errors: 9,
            tcp_ext_reverse_path_filter: 12,
            ..SnmpCounters::default()
        };
        assert_eq!(counters(&numbers), expected);
    }

    #[test]
    fn a_line_without_values_is_none() {
        assert!(pairs_of_lines("Ip: FragFails\n").is_empty());
        assert!(pairs_of_lines("Ip: FragFails\nIp:\n").is_empty());
        assert!(lines("Ip6FragFails\n\nx y\n").is_empty());
    }

    #[test]
    fn the_running_kernel_has_them() {
        assert!(read().is_ok());
    }
}
