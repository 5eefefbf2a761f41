//! More flows than there is room for: the total stays exact.

use std::net::{Ipv4Addr, UdpSocket};

use tracer::{
    kernel::{DropOptions, DropReading},
    observe::{DropObservation, drops},
};

use crate::node::{CLOSED, Node, is_confidential, only};

const SOURCES: u32 = 100_000;

#[test]
fn flows_and_others_are_the_exact_total_whatever_was_evicted() {
    if is_confidential() {
        return;
    }
    let mut node = Node::new("", DropOptions::default());
    node.namespace.run(|| {
        for number in 0..SOURCES {
            let source = Ipv4Addr::from_bits(0x7f01_0000 + number);
            let socket = UdpSocket::bind((source, 5000)).unwrap();
            socket.send_to(b"", ("127.0.0.1", CLOSED)).unwrap();
        }
    });
    let total = u64::from(SOURCES);
    let reading = node.read_when(total);
    assert_eq!(only(&reading).packets, total);
    let start = DropReading::default();
    let judged = drops(DropObservation {
        start: &start,
        middle: &start,
        end: &reading,
        headers_read: true,
        has_reasons: true,
        overlays: &[],
    });
    let in_flows: u64 = reading.flows.iter().map(|flow| u64::from(flow.packets)).sum();
    assert!(in_flows > 100, "{in_flows}");
    assert_eq!((judged.packets, judged.other), (total, total - in_flows));
    assert_eq!(reading.flow_inserts, total);
    assert_eq!(judged.flow_evictions, total - reading.flows.len() as u64);
}
