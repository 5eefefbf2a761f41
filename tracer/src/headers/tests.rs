use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::*;

const MACS: [[u8; 6]; 4] =
    [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 1, 2]];

/// A SYN from a pod to another node's.
fn inner() -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(MACS[0], MACS[1])
        .ipv4([10, 244, 1, 9], [10, 244, 2, 5], 64)
        .tcp(40_000, 80, 1, 1000)
        .syn();
    let mut bytes = Vec::new();
    builder.write(&mut bytes, b"hello").unwrap();
    bytes
}

/// The same in the tunnel.
fn tunnelled() -> Vec<u8> {
    let mut payload = vec![8, 0, 0, 0, 0, 0, 42, 0];
    payload.extend(inner());
    let builder = PacketBuilder::ethernet2(MACS[2], MACS[3])
        .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
        .udp(50_000, 8472);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, &payload).unwrap();
    bytes
}

fn text(bytes: &[u8], has_ethernet: bool) -> String {
    Headers::read(bytes, has_ethernet, &[8472, 4789]).to_string()
}

const INNER: &str =
    "02:00:00:00:00:01 > 02:00:00:00:00:02 10.244.1.9:40000 > 10.244.2.5:80 tcp SYN";

#[test]
fn a_plain_packet_has_no_outer_headers() {
    assert_eq!(text(&inner(), true), INNER);
    let json = serde_json::to_value(Headers::read(&inner(), true, &[])).unwrap();
    assert_eq!(json["outer"], serde_json::Value::Null);
    assert_eq!(json["inner"]["tcp_flags"], "SYN");
    assert_eq!(json["inner"]["protocol"], "tcp");
    assert_eq!(json["inner"]["icmp"], serde_json::Value::Null);
}

#[test]
fn a_packet_in_the_tunnel_has_both() {
    let outer = "02:00:00:00:01:01 > 02:00:00:00:01:02 192.0.2.1:50000 > 192.0.2.2:8472 udp vni 42";
    assert_eq!(text(&tunnelled(), true), format!("{outer} | {INNER}"));
    let json = serde_json::to_value(Headers::read(&tunnelled(), true, &[8472])).unwrap();
    assert_eq!(
        (&json["outer"]["vni"], &json["outer"]["destination"]),
        (&42.into(), &"192.0.2.2".into())
    );
    assert_eq!(json["inner"]["destination_port"], 80);
    let bare = text(&tunnelled()[14..], false);
    assert_eq!(bare, format!("192.0.2.1:50000 > 192.0.2.2:8472 udp vni 42 | {INNER}"));
    let other = Headers::read(&tunnelled(), true, &[4789]);
    assert_eq!(other.outer, None, "a datagram to no port of a tunnel");
}

#[test]
fn what_was_cut_off_is_not_there() {
    let bytes = tunnelled();
    let cut = |at: usize| Headers::read(&bytes[..at], true, &[8472]);
    let tcp = 50 + 14 + 20;
    let ports = cut(tcp + 4).inner.unwrap();
    assert_eq!((ports.source_port, ports.destination_port), (Some(40_000), Some(80)));
    assert_eq!(ports.tcp_flags, None);
    assert_eq!(cut(tcp + 14).inner.unwrap().tcp_flags, Some(TcpFlags(2)));
    let no_inner = cut(50);
    assert!(no_inner.outer.is_some() && no_inner.inner.is_none(), "{no_inner:?}");
    assert_eq!(cut(13), Headers::default());
    assert_eq!(cut(13).to_string(), "no headers that can be read");
}

#[test]
fn fragments_and_arp_have_no_ports() {
    let mut later = inner();
    later[14 + 7] = 100;
    let later = Headers::read(&later, true, &[]).inner.unwrap();
    assert_eq!((later.source_port, later.tcp_flags), (None, None));
    assert_eq!(
        later.to_string(),
        format!("{} tcp", &INNER[..INNER.len() - 8].replace(":40000", "").replace(":80", ""))
    );
    let mut arp = vec![0xff; 6];
    arp.extend(MACS[0]);
    arp.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    arp.extend(MACS[0]);
    arp.extend([10, 244, 1, 9]);
    arp.extend([0; 6]);
    arp.extend([10, 244, 1, 1]);
    assert_eq!(
        text(&arp, true),
        "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff 10.244.1.9 > 10.244.1.1 arp"
    );
    let lldp = [&arp[..12], &[0x88, 0xcc, 1, 2]].concat();
    assert_eq!(text(&lldp, true), "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff 0x88cc");
}

#[test]
fn an_icmp_error_over_ipv6_is_told_by_type_and_code() {
    let builder = PacketBuilder::ipv6([0xfd; 16], [0xfe; 16], 64);
    let mut bytes = Vec::new();
    builder.icmpv6_raw(1, 4, [0; 4]).write(&mut bytes, &[0; 8]).unwrap();
    let end = |octet: &str| [octet; 8].join(":");
    let expected = format!("{} > {} icmpv6 type 1 code 4", end("fdfd"), end("fefe"));
    assert_eq!(text(&bytes, false), expected);
}

proptest! {
    #[test]
    fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..140), ethernet: bool) {
        let _ = text(&bytes, ethernet);
    }

    #[test]
    fn a_damaged_packet_is_read(at in 0..90_usize, byte: u8, length in 0..128_usize) {
        let mut bytes = tunnelled();
        bytes[at] = byte;
        bytes.truncate(length);
        let _ = text(&bytes, true);
    }
}
