//! A full map loses no packet: what finds no room is counted together.

use tracer::kernel::DropOptions;

use crate::node::{CLOSED, Node, allowed, send, send_refused};

#[test]
fn what_finds_no_room_is_counted_as_other() {
    let firewall = "
        nft add table ip t
        nft 'add chain ip t out { type filter hook output priority 0; }'
        nft add rule ip t out udp dport 10 drop";
    for variant in allowed() {
        let options = DropOptions { variant, entries: (1, 1), ..DropOptions::default() };
        let mut node = Node::new(firewall, options);
        send(&node.namespace, ("127.0.0.1", CLOSED), b"", 5);
        assert_eq!(node.read_when(5).places[0].packets, 5);
        send_refused(&node.namespace, ("127.0.0.1", 10), b"12", 31, true);
        let reading = node.read_when(36);
        assert_eq!((reading.places.len(), reading.places[0].packets), (1, 5), "{reading:#?}");
        // IP and UDP header are part of what was to be sent.
        assert_eq!((reading.other, reading.other_bytes, reading.other_kinds), (31, 31 * 30, 31));
        // The first place still has its room.
        send(&node.namespace, ("127.0.0.1", CLOSED), b"", 2);
        assert_eq!(node.read_when(38).places[0].packets, 7);
    }
}
