//! A full table loses no packet: what finds no room is counted together.

use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use tracer::kernel::{DropEntries, DropOptions};

use crate::node::{CLOSED, Node, allowed, options, send, send_refused};

#[test]
fn what_finds_no_room_is_counted_as_other() {
    let firewall = "
        nft add table ip t
        nft 'add chain ip t out { type filter hook output priority 0; }'
        nft add rule ip t out udp dport 10 drop";
    for variant in allowed() {
        let entries = DropEntries { places: 1, flows4: 1, flows6: 1 };
        let mut node = Node::new(firewall, DropOptions { entries, ..options(variant) });
        node.namespace.run(stay_on_one_processor);
        send(&node.namespace, ("127.0.0.1", CLOSED), b"", 5);
        assert_eq!(node.read_when(5).places[0].packets, 5);
        send_refused(&node.namespace, ("127.0.0.1", 10), b"12", 31, true);
        let reading = node.read_when(36);
        assert_eq!((reading.places.len(), reading.places[0].packets), (1, 5), "{reading:#?}");
        assert_eq!(reading.other, 31);
        // The first place still has its room.
        send(&node.namespace, ("127.0.0.1", CLOSED), b"", 2);
        assert_eq!(node.read_when(38).places[0].packets, 7);
    }
}

/// Every processor has slots of its own.
fn stay_on_one_processor() {
    let mut first = CpuSet::new();
    first.set(0).unwrap();
    sched_setaffinity(Pid::from_raw(0), &first).unwrap();
}
