//! The packet parser over arbitrary bytes: it must not panic, and what it read must lie inside them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer_ebpf::parse::{self, Inner, Ip, Version, Wire};

/// flannel's default VXLAN port, as it lies in memory.
const PORT: u16 = 8472_u16.to_be();

/// The longest that the options of an IPv4 header can be. They are stepped over and not read, so
/// that they may end beyond the bytes.
const OPTIONS: usize = 40;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((_, at)) = parse::ethernet(&bytes, 0) {
        assert!(at <= bytes.len());
        at_uplink::<u32>(bytes, at);
        at_uplink::<[u32; 4]>(bytes, at);
    }
    // A layer 3 device has no Ethernet header.
    at_uplink::<u32>(bytes, 0);
    at_uplink::<[u32; 4]>(bytes, 0);
    on_its_own::<u32>(bytes);
    on_its_own::<[u32; 4]>(bytes);
});

fn on_its_own<A: Version>(bytes: &[u8]) {
    if let Ok(Some(inner)) = parse::inner::<A, _>(&bytes, 0) {
        is_inside(bytes, &inner);
    }
}

fn at_uplink<A: Version>(bytes: &[u8], at: usize) {
    match parse::wire::<A, _>(&bytes, at, PORT) {
        Ok(Wire::Vxlan(vxlan)) => {
            assert!(vxlan.vni() < 1 << 24);
            header_is_inside(bytes, &vxlan.outer);
            if let Ok(Some(inner)) = vxlan.inner(&bytes) {
                is_inside(bytes, &inner);
            }
        }
        Ok(Wire::Plain(header) | Wire::Datagram(header, _)) => header_is_inside(bytes, &header),
        Err(_) => {}
    }
}

fn is_inside<A: Version>(bytes: &[u8], inner: &Inner<A>) {
    assert!(inner.network_at + 20 <= bytes.len());
    header_is_inside(bytes, &inner.ip);
}

fn header_is_inside<A: Version>(bytes: &[u8], header: &Ip<A>) {
    assert!(header.payload_at >= 20);
    assert!(header.payload_at <= bytes.len() + OPTIONS);
}
