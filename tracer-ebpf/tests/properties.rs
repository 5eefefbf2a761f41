//! Properties of the parser over packets that another library builds, and over arbitrary bytes.

#![expect(clippy::unwrap_used, reason = "writing into a vector does not fail")]

use etherparse::{IpNumber, PacketBuilder};
use proptest::prelude::*;
use tracer_common::counter::ParseError;
use tracer_ebpf::parse::{self, IPV4, Packet, Stop, Vxlan, Wire};

const PORT: u16 = 8472;

/// A packet's linear part as the kernel shows it: constant offsets only.
struct Linear<'a>(&'a [u8]);

impl Packet for Linear<'_> {
    const ANY_LAYOUT: bool = false;

    fn byte(&self, at: usize) -> Option<u8> {
        self.0.byte(at)
    }

    fn half(&self, at: usize) -> Option<u16> {
        self.0.half(at)
    }

    fn words<const N: usize>(&self, at: usize) -> Option<[u32; N]> {
        self.0.words(at)
    }
}

/// A well-formed inner frame and what names its flow.
#[derive(Debug, Clone)]
struct Inner {
    source: [u8; 4],
    destination: [u8; 4],
    protocol: u8,
    ports: (u16, u16),
    tags: usize,
    options: usize,
    bytes: Vec<u8>,
}

fn unicast() -> impl Strategy<Value = [u8; 4]> {
    (1u8..224, any::<[u8; 3]>()).prop_map(|(first, [b, c, d])| [first, b, c, d])
}

prop_compose! {
    fn inner()(
        source in unicast(),
        destination in unicast(),
        kind in 0..4,
        ports in any::<(u16, u16)>(),
        tags in 0usize..=2,
        options in 0usize..=10,
        payload in proptest::collection::vec(any::<u8>(), 0..64),
    ) -> Inner {
        build(source, destination, kind, ports, tags, options, &payload)
    }
}

fn build(
    source: [u8; 4],
    destination: [u8; 4],
    kind: i32,
    ports: (u16, u16),
    tags: usize,
    options: usize,
    payload: &[u8],
) -> Inner {
    let ip = PacketBuilder::ipv4(source, destination, 64);
    let mut packet = Vec::new();
    let (protocol, ports) = match kind {
        0 => {
            ip.tcp(ports.0, ports.1, 1, 1000).write(&mut packet, payload).unwrap();
            (6, ports)
        }
        1 => {
            ip.udp(ports.0, ports.1).write(&mut packet, payload).unwrap();
            (17, ports)
        }
        2 => {
            ip.icmpv4_echo_request(ports.0, 1).write(&mut packet, payload).unwrap();
            (1, (0x0800, ports.0))
        }
        _ => {
            ip.write(&mut packet, IpNumber::GRE, payload).unwrap();
            (47, (0, 0))
        }
    };
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for _ in 0..tags {
        bytes.extend([0x81, 0x00, 0x00, 0x2a]);
    }
    bytes.extend([0x08, 0x00]);
    bytes.extend(with_options(&packet, options));
    Inner { source, destination, protocol, ports, tags, options, bytes }
}

/// The packet with `words` words of no-operation options; the checksum is not the parser's matter.
fn with_options(packet: &[u8], words: usize) -> Vec<u8> {
    let mut bytes = packet.to_vec();
    bytes.splice(20..20, std::iter::repeat_n(1, words * 4));
    bytes[0] = 0x45 + words as u8;
    let length = bytes.len() as u16;
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// The frame inside VXLAN, as it stands on an Ethernet uplink.
fn encapsulate(inner: &[u8], vni: u32, port: u16) -> Vec<u8> {
    let mut payload = vec![0x08, 0, 0, 0];
    payload.extend((vni << 8).to_be_bytes());
    payload.extend(inner);
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
        .udp(40_000, port)
        .write(&mut bytes, &payload)
        .unwrap();
    bytes
}

fn flow_of(bytes: &[u8]) -> Result<Option<parse::Inner<u32>>, Stop> {
    match parse::ethernet(&bytes, 0)? {
        (IPV4, at) => parse::inner(&bytes, at),
        _ => Ok(None),
    }
}

/// A VXLAN datagram and what is in it.
fn tunnel<P: Packet>(packet: &P) -> Result<(Vxlan<u32>, Option<parse::Inner<u32>>), Stop> {
    let Wire::Vxlan(vxlan) = parse::wire::<u32, _>(packet, 14, PORT.to_be())? else {
        panic!("not VXLAN");
    };
    Ok((vxlan, vxlan.inner(packet)?))
}

fn assert_is(found: &parse::Inner<u32>, expected: &Inner) {
    let key = &found.key;
    assert_eq!(key.source().to_ne_bytes(), expected.source);
    assert_eq!(key.destination().to_ne_bytes(), expected.destination);
    assert_eq!(key.protocol(), expected.protocol);
    assert_eq!((key.source_port(), key.destination_port()), expected.ports);
}

proptest! {
    #[test]
    fn a_well_formed_packet_gives_its_flow(inner in inner()) {
        let found = flow_of(&inner.bytes).unwrap().expect("unicast IPv4");
        assert_is(&found, &inner);
    }

    #[test]
    fn a_tunnelled_packet_gives_the_inner_flow(inner in inner(), vni in 0u32..1 << 24) {
        let bytes = encapsulate(&inner.bytes, vni, PORT);
        let Ok(Wire::Vxlan(vxlan)) = parse::wire::<u32, _>(&&bytes[..], 14, PORT.to_be()) else {
            panic!("not VXLAN");
        };
        assert_eq!(vxlan.vni(), vni);
        assert_eq!(vxlan.outer.source.to_ne_bytes(), [192, 0, 2, 1]);
        let (high, low) = vxlan.source_mac;
        assert_eq!((high.to_ne_bytes(), low.to_ne_bytes()), ([2, 0], [0, 0, 0, 2]));
        let found = vxlan.inner(&&bytes[..]).unwrap().expect("unicast IPv4");
        assert_is(&found, &inner);
    }

    #[test]
    fn constant_offsets_give_the_same_or_ask_for_a_copy(inner in inner()) {
        let bytes = encapsulate(&inner.bytes, 7, PORT);
        let anywhere = tunnel(&&bytes[..]);
        let linear = tunnel(&Linear(&bytes));
        if inner.tags == 0 && inner.options == 0 {
            assert_eq!(linear, anywhere);
        } else {
            assert_eq!(linear, Err(Stop::Layout));
        }
    }

    #[test]
    fn another_port_is_no_tunnel(inner in inner(), port in any::<u16>()) {
        prop_assume!(port != PORT);
        let bytes = encapsulate(&inner.bytes, 7, port);
        assert!(matches!(parse::wire::<u32, _>(&&bytes[..], 14, PORT.to_be()), Ok(Wire::Datagram(..))));
    }

    /// A cut anywhere inside the headers is an error of its own, never another flow.
    #[test]
    fn a_truncated_tunnel_is_counted_as_such(inner in inner(), cut in any::<prop::sample::Index>()) {
        let bytes = encapsulate(&inner.bytes, 7, PORT);
        let cut = cut.index(bytes.len());
        match tunnel(&&bytes[..cut]) {
            Ok(found) => assert_is(&found.1.expect("unicast IPv4"), &inner),
            Err(Stop::Malformed(error)) => assert!(error.is_truncation(), "{error:?}"),
            Err(Stop::Layout) => panic!("a slice may be laid out in any way"),
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = flow_of(&bytes);
        let _ = parse::wire::<u32, _>(&&bytes[..], 0, PORT.to_be());
        let _ = parse::wire::<u32, _>(&Linear(&bytes), 14, PORT.to_be());
    }

    /// One changed byte may make another flow or an error, but never reads outside the packet.
    #[test]
    fn a_damaged_tunnel_never_panics(
        inner in inner(),
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let mut bytes = encapsulate(&inner.bytes, 7, PORT);
        let at = at.index(bytes.len());
        bytes[at] = value;
        let Ok(Wire::Vxlan(vxlan)) = parse::wire::<u32, _>(&&bytes[..], 14, PORT.to_be()) else {
            return Ok(());
        };
        if let Ok(Some(inner)) = vxlan.inner(&&bytes[..]) {
            assert!(inner.network_at + 20 <= bytes.len());
            assert!(inner.headers_end(&&bytes[..]) <= bytes.len() + 60);
        }
    }

    #[test]
    fn a_tunnel_in_a_tunnel_is_an_ordinary_udp_flow(inner in inner()) {
        let nested = encapsulate(&encapsulate(&inner.bytes, 7, PORT), 9, PORT);
        let Ok(Wire::Vxlan(vxlan)) = parse::wire::<u32, _>(&&nested[..], 14, PORT.to_be()) else {
            panic!("not VXLAN");
        };
        let found = vxlan.inner(&&nested[..]).unwrap().expect("unicast IPv4");
        assert_eq!((vxlan.vni(), found.key.protocol()), (9, 17));
        assert_eq!(found.key.destination_port(), PORT);
    }
}

#[test]
fn a_header_without_the_i_flag_is_an_error() {
    let inner = build([10, 0, 0, 1], [10, 0, 0, 2], 0, (1, 2), 0, 0, &[]);
    let mut bytes = encapsulate(&inner.bytes, 7, PORT);
    bytes[42] = 0;
    let error = Err(Stop::Malformed(ParseError::VxlanFlags));
    assert_eq!(parse::wire::<u32, _>(&&bytes[..], 14, PORT.to_be()), error);
}
