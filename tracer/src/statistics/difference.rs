//! What counters rose by between two readings. Pure.
//!
//! A counter that begins anew in between, as that of a device that was made again, or that a driver
//! takes back, has risen by nothing that is known.

use crate::evidence::{
    Conntrack, DeviceCounters, NeighbourTable, QueueCounters, SnmpCounters, Statistics,
};

/// The rise of every counter; everything else is as it was at the end.
pub(super) fn between(before: &Statistics, after: Statistics) -> Statistics {
    // A list that is empty was not read: every namespace has `lo`.
    let devices_before = known_or_same(&before.devices, &after.devices).to_vec();
    let devices = after.devices.into_iter().map(|device| {
        // One that came meanwhile has counted from nothing.
        let known = devices_before.iter().find(|it| it.ifindex == device.ifindex);
        of_device(known, device)
    });
    let queues_before = known_or_same(&before.queues, &after.queues).to_vec();
    let queues = after.queues.into_iter().map(|queue| {
        // A queue of another kind counts from nothing, and what its predecessor lost is gone.
        let same = |it: &&QueueCounters| it.ifindex == queue.ifindex && it.kind == queue.kind;
        of_queue(queues_before.iter().find(same), queue)
    });
    let tables = after.neighbour_tables.into_iter().map(|table| {
        let known = before.neighbour_tables.iter().find(|it| it.family == table.family);
        let refused = known.map_or(0, |known| rise(known.refused, table.refused));
        NeighbourTable { refused, ..table }
    });
    Statistics {
        devices: devices.collect(),
        queues: queues.collect(),
        neighbour_tables: tables.collect(),
        snmp: before.snmp.zip(after.snmp).map(|(before, after)| of_snmp(&before, &after)),
        conntrack: after.conntrack.map(|after| of_conntrack(before.conntrack, after)),
        ..after
    }
}

/// What was read before, or else what is read now: then nothing has risen that is known.
fn known_or_same<'a, T>(before: &'a [T], after: &'a [T]) -> &'a [T] {
    if before.is_empty() { after } else { before }
}

/// What one counter rose by.
const fn rise(before: u64, after: u64) -> u64 {
    after.saturating_sub(before)
}

fn of_device(before: Option<&DeviceCounters>, after: DeviceCounters) -> DeviceCounters {
    let Some(before) = before else { return after };
    DeviceCounters {
        rx_packets: rise(before.rx_packets, after.rx_packets),
        tx_packets: rise(before.tx_packets, after.tx_packets),
        rx_dropped: rise(before.rx_dropped, after.rx_dropped),
        tx_dropped: rise(before.tx_dropped, after.tx_dropped),
        rx_errors: rise(before.rx_errors, after.rx_errors),
        tx_errors: rise(before.tx_errors, after.tx_errors),
        tx_carrier_errors: rise(before.tx_carrier_errors, after.tx_carrier_errors),
        rx_frame_errors: rise(before.rx_frame_errors, after.rx_frame_errors),
        ..after
    }
}

fn of_queue(before: Option<&QueueCounters>, after: QueueCounters) -> QueueCounters {
    let Some(before) = before else { return after };
    QueueCounters {
        dropped: rise(before.dropped, after.dropped),
        overlimits: rise(before.overlimits, after.overlimits),
        ..after
    }
}

/// A table that was not there before, or could not be read, has lost nothing that is known.
fn of_conntrack(before: Option<Conntrack>, after: Conntrack) -> Conntrack {
    let before = before.unwrap_or(after);
    Conntrack {
        dropped: rise(before.dropped, after.dropped),
        insert_failed: rise(before.insert_failed, after.insert_failed),
        ..after
    }
}

fn of_snmp(before: &SnmpCounters, after: &SnmpCounters) -> SnmpCounters {
    let by = |counter: fn(&SnmpCounters) -> u64| rise(counter(before), counter(after));
    SnmpCounters {
        ip_in_header_errors: by(|it| it.ip_in_header_errors),
        ip_in_address_errors: by(|it| it.ip_in_address_errors),
        ip_in_no_routes: by(|it| it.ip_in_no_routes),
        ip_out_no_routes: by(|it| it.ip_out_no_routes),
        ip_in_checksum_errors: by(|it| it.ip_in_checksum_errors),
        ip_fragment_fails: by(|it| it.ip_fragment_fails),
        ip_fragments_created: by(|it| it.ip_fragments_created),
        ip_reassembly_fails: by(|it| it.ip_reassembly_fails),
        udp_no_ports: by(|it| it.udp_no_ports),
        udp_in_errors: by(|it| it.udp_in_errors),
        udp_in_checksum_errors: by(|it| it.udp_in_checksum_errors),
        udp_receive_buffer_errors: by(|it| it.udp_receive_buffer_errors),
        tcp_ext_reverse_path_filter: by(|it| it.tcp_ext_reverse_path_filter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(ifindex: u32, rx_packets: u64, tx_dropped: u64) -> DeviceCounters {
        DeviceCounters {
            interface: "eth0".to_owned(),
            ifindex,
            rx_packets,
            tx_dropped,
            rx_packets_total: rx_packets,
            tx_dropped_total: tx_dropped,
            ..DeviceCounters::default()
        }
    }

    fn queue(kind: &str, dropped: u64) -> QueueCounters {
        QueueCounters {
            interface: "eth0".to_owned(),
            ifindex: 2,
            kind: kind.to_owned(),
            dropped,
            overlimits: 2 * dropped,
        }
    }

    fn of_devices(before: DeviceCounters, after: DeviceCounters) -> DeviceCounters {
        let before = Statistics { devices: vec![before], ..Statistics::default() };
        let after = Statistics { devices: vec![after], ..Statistics::default() };
        between(&before, after).devices.remove(0)
    }

    #[test]
    fn a_device_tells_its_rise_and_its_totals() {
        let risen = of_devices(device(2, 100, 5), device(2, 140, 8));
        assert_eq!((risen.rx_packets, risen.tx_dropped), (40, 3));
        assert_eq!((risen.rx_packets_total, risen.tx_dropped_total), (140, 8));
    }

    #[test]
    fn a_device_that_was_made_again_counts_from_nothing() {
        let risen = of_devices(device(2, 100, 50), device(9, 3, 1));
        assert_eq!((risen.rx_packets, risen.tx_dropped), (3, 1));
    }

    #[test]
    fn a_counter_that_was_reset_has_not_risen() {
        let risen = of_devices(device(2, 100, 50), device(2, 3, 51));
        assert_eq!((risen.rx_packets, risen.tx_dropped), (0, 1));
        assert_eq!(risen.rx_packets_total, 3);
    }

    #[test]
    fn a_queue_that_was_replaced_counts_from_nothing() {
        let lost = |before: &str, dropped| {
            let of = |queue| Statistics { queues: vec![queue], ..Statistics::default() };
            let risen = between(&of(queue(before, 90)), of(queue("tbf", dropped)));
            (risen.queues[0].dropped, risen.queues[0].overlimits)
        };
        assert_eq!(lost("tbf", 100), (10, 20));
        assert_eq!(lost("fq", 100), (100, 200));
        assert_eq!(lost("tbf", 7), (0, 0), "the same kind, made anew");
    }

    #[test]
    fn what_was_not_read_before_has_not_risen() {
        let table = NeighbourTable { family: 4, entries: 9, most: 1024, refused: 70 };
        let conntrack = Conntrack { entries: 3, most: 10, dropped: 8, insert_failed: 6 };
        let device = DeviceCounters { ifindex: 2, tx_packets: 9, ..DeviceCounters::default() };
        let queue = QueueCounters { ifindex: 2, dropped: 9, ..QueueCounters::default() };
        let after = Statistics {
            devices: vec![device.clone()],
            queues: vec![queue.clone()],
            neighbour_tables: vec![table],
            conntrack: Some(conntrack),
            snmp: Some(SnmpCounters { udp_no_ports: 5, ..SnmpCounters::default() }),
            bridge_nf_call: Some(false),
            settings_read: true,
            ..Statistics::default()
        };
        let risen = between(&Statistics::default(), after.clone());
        assert_eq!(risen.devices, [DeviceCounters { tx_packets: 0, ..device }]);
        assert_eq!(risen.queues, [QueueCounters { dropped: 0, ..queue }]);
        assert_eq!(risen.neighbour_tables, [NeighbourTable { refused: 0, ..table }]);
        assert_eq!(risen.conntrack, Some(Conntrack { dropped: 0, insert_failed: 0, ..conntrack }));
        assert_eq!(risen.snmp, None);
        assert_eq!((risen.bridge_nf_call, risen.settings_read), (Some(false), true));
        let still = between(&after, after.clone());
        assert_eq!(still.snmp, Some(SnmpCounters::default()));
    }

    #[test]
    fn shared_tables_tell_their_rise() {
        let of = |refused, dropped, udp_no_ports| Statistics {
            neighbour_tables: vec![NeighbourTable { family: 4, entries: 9, most: 9, refused }],
            conntrack: Some(Conntrack { entries: 3, most: 3, dropped, insert_failed: 0 }),
            snmp: Some(SnmpCounters { udp_no_ports, ..SnmpCounters::default() }),
            ..Statistics::default()
        };
        let risen = between(&of(5, 6, 7), of(15, 7, 7));
        assert_eq!(risen.neighbour_tables[0].refused, 10);
        assert_eq!(risen.conntrack.unwrap().dropped, 1);
        assert_eq!(risen.snmp.unwrap().udp_no_ports, 0);
    }
}
