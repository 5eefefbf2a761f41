//! Properties of the parser over IPv6 packets that another library builds, and over arbitrary bytes.

#![expect(clippy::unwrap_used, reason = "writing into a vector does not fail")]

use etherparse::PacketBuilder;
use proptest::prelude::*;
use tracer_ebpf::parse::{self, IPV6, Packet, Stop, Vxlan, Wire};

type V6 = [u32; 4];

const PORT: u16 = 8472;
/// Ethernet, outer IPv6, UDP, VXLAN, inner Ethernet.
const INNER_AT: usize = 14 + 40 + 8 + 8 + 14;

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

/// A well-formed inner packet and what names its flow.
#[derive(Debug, Clone)]
struct Inner {
    source: [u8; 16],
    destination: [u8; 16],
    protocol: u8,
    ports: (u16, u16),
    extensions: usize,
    bytes: Vec<u8>,
}

fn unicast() -> impl Strategy<Value = [u8; 16]> {
    any::<[u8; 15]>().prop_map(|rest| {
        let mut address = [0xfd; 16];
        address[1..].copy_from_slice(&rest);
        address
    })
}

prop_compose! {
    fn inner()(
        source in unicast(),
        destination in unicast(),
        kind in 0..3,
        ports in any::<(u16, u16)>(),
        extensions in 0usize..=4,
        payload in proptest::collection::vec(any::<u8>(), 0..64),
    ) -> Inner {
        let ip = PacketBuilder::ipv6(source, destination, 64);
        let mut bytes = Vec::new();
        let (protocol, ports) = match kind {
            0 => {
                ip.tcp(ports.0, ports.1, 1, 1000).write(&mut bytes, &payload).unwrap();
                (6, ports)
            }
            1 => {
                ip.udp(ports.0, ports.1).write(&mut bytes, &payload).unwrap();
                (17, ports)
            }
            _ => {
                ip.icmpv6_echo_request(ports.0, 1).write(&mut bytes, &payload).unwrap();
                (58, (0x8000, ports.0))
            }
        };
        let bytes = with_extensions(&bytes, extensions);
        Inner { source, destination, protocol, ports, extensions, bytes }
    }
}

/// The packet with so many empty destination options; its length is not the parser's matter.
fn with_extensions(packet: &[u8], count: usize) -> Vec<u8> {
    const DESTINATION: u8 = 60;
    let mut bytes = packet.to_vec();
    for _ in 0..count {
        let next = std::mem::replace(&mut bytes[6], DESTINATION);
        bytes.splice(40..40, [next, 0, 1, 4, 0, 0, 0, 0]);
    }
    bytes
}

/// The packet inside VXLAN over IPv6, as it stands on an Ethernet uplink.
fn encapsulate(inner: &[u8], vni: u32) -> Vec<u8> {
    let mut payload = vec![0x08, 0, 0, 0];
    payload.extend((vni << 8).to_be_bytes());
    payload.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd]);
    payload.extend(inner);
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv6([1; 16], [2; 16], 64)
        .udp(40_000, PORT)
        .write(&mut bytes, &payload)
        .unwrap();
    bytes
}

/// A VXLAN datagram and what is in it.
fn tunnel<P: Packet>(packet: &P) -> Result<(Vxlan<V6>, Option<parse::Inner<V6>>), Stop> {
    let (IPV6, at) = parse::ethernet(packet, 0)? else { panic!("not IPv6") };
    let Wire::Vxlan(vxlan) = parse::wire::<V6, _>(packet, at, PORT.to_be())? else {
        panic!("not VXLAN");
    };
    Ok((vxlan, vxlan.inner(packet)?))
}

fn octets(address: V6) -> Vec<u8> {
    address.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn assert_is(found: &parse::Inner<V6>, expected: &Inner) {
    let key = &found.key;
    assert_eq!(octets(key.source()), expected.source);
    assert_eq!(octets(key.destination()), expected.destination);
    assert_eq!(key.protocol(), expected.protocol);
    assert_eq!((key.source_port(), key.destination_port()), expected.ports);
}

proptest! {
    #[test]
    fn a_tunnelled_packet_gives_the_inner_flow(inner in inner(), vni in 0u32..1 << 24) {
        let bytes = encapsulate(&inner.bytes, vni);
        let (vxlan, found) = tunnel(&&bytes[..]).unwrap();
        assert_eq!(vxlan.vni(), vni);
        assert_eq!(octets(vxlan.outer.source), [1; 16]);
        let found = found.expect("unicast IPv6");
        assert_eq!(found.network_at, INNER_AT);
        assert_is(&found, &inner);
    }

    #[test]
    fn constant_offsets_give_the_same_or_ask_for_a_copy(inner in inner()) {
        let bytes = encapsulate(&inner.bytes, 7);
        let linear = tunnel(&Linear(&bytes));
        if inner.extensions == 0 {
            // Where headers may be anywhere, any packet may be a first fragment.
            let mut anywhere = tunnel(&&bytes[..]);
            if let Ok((vxlan, found)) = &mut anywhere {
                let inner = found.iter_mut().map(|inner| &mut inner.ip);
                inner.chain([&mut vxlan.outer]).for_each(|ip| ip.maybe_first_fragment = false);
            }
            assert_eq!(linear, anywhere);
        } else {
            assert_eq!(linear, Err(Stop::Layout));
        }
    }

    /// A cut anywhere inside the headers is an error of its own, never another flow.
    #[test]
    fn a_truncated_tunnel_is_counted_as_such(inner in inner(), cut in any::<prop::sample::Index>()) {
        let bytes = encapsulate(&inner.bytes, 7);
        match tunnel(&&bytes[..cut.index(bytes.len())]) {
            Ok((_, found)) => assert_is(&found.expect("unicast IPv6"), &inner),
            Err(Stop::Malformed(error)) => assert!(error.is_truncation(), "{error:?}"),
            Err(Stop::Layout) => panic!("a slice may be laid out in any way"),
        }
    }

    #[test]
    fn another_ip_version_is_not_taken_for_this_one(inner in inner()) {
        let mut bytes = encapsulate(&inner.bytes, 7);
        bytes[INNER_AT - 2..INNER_AT].copy_from_slice(&[0x08, 0x00]);
        assert_eq!(tunnel(&&bytes[..]).unwrap().1, None);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = parse::inner::<V6, _>(&&bytes[..], 0);
        let _ = parse::wire::<V6, _>(&&bytes[..], 0, PORT.to_be());
        let _ = parse::wire::<V6, _>(&Linear(&bytes), 14, PORT.to_be());
    }
}
