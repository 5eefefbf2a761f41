//! A dropped packet, for tests to change.

use crate::evidence::{Drop, DropFlow, DropPlace};

/// Ten DNS queries of a pod, dropped by a packet filter at the bridge.
pub(crate) fn dropped() -> Drop {
    Drop {
        reason: Some("NETFILTER_DROP".to_owned()),
        symbol: Some("nft_do_chain".to_owned()),
        interface: Some("cni0".to_owned()),
        place: DropPlace::Node,
        ethertype: 0x0800,
        packets: 10,
        early: 5,
        flow: Some(DropFlow {
            source: "10.244.1.9".parse().unwrap(),
            destination: "10.244.2.5".parse().unwrap(),
            protocol: 17,
            source_port: 40_000,
            destination_port: 53,
        }),
        outer: None,
    }
}

/// The same to another port, so many packets.
pub(crate) fn dropped_to(port: u16, packets: u64) -> Drop {
    let drop = dropped();
    let flow = drop.flow.map(|flow| DropFlow { destination_port: port, ..flow });
    Drop { flow, packets, ..drop }
}
