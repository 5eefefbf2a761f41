//! The kernel's own counters: read before and after a window, and what they rose by in it.

mod difference;
mod snmp;

use std::fs;

use crate::{evidence::Statistics, netlink::statistics as kernel};

/// `net.bridge.bridge-nf-call-iptables` of this thread's network namespace.
const BRIDGE_NF_CALL: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// The counters at one moment.
#[derive(Debug, Default, Clone)]
pub struct Reading {
    /// Since each of them began to count.
    absolute: Statistics,
    /// What could not be read, and why.
    unseen: Vec<String>,
}

/// Reads everything once, of this thread's network namespace. Nothing is loaded or changed by it.
#[must_use]
pub fn read() -> Reading {
    let mut unseen = Vec::new();
    let devices = or_unseen(kernel::devices(), "counters of devices", &mut unseen);
    let names = devices.names();
    let filters = kernel::reverse_path_filters(&names);
    let rp_filter = or_unseen(filters, "rp_filter", &mut unseen);
    let absolute = Statistics {
        queues: or_unseen(kernel::queues(&names), "queues of devices", &mut unseen),
        snmp: or_unseen(snmp::read().map(Some), "counters of IP, UDP and TCP", &mut unseen),
        conntrack: or_unseen(kernel::conntrack(), "statistics of conntrack", &mut unseen),
        neighbour_tables: or_unseen(
            kernel::neighbour_tables(),
            "limits of the neighbour tables",
            &mut unseen,
        ),
        settings_read: !rp_filter.is_empty(),
        rp_filter,
        bridge_nf_call: bridge_nf_call(),
        devices: devices.counters,
        bridges_calling: devices.bridges_calling,
    };
    Reading { absolute, unseen }
}

fn or_unseen<T: Default, E: Into<anyhow::Error>>(
    read: Result<T, E>,
    what: &str,
    unseen: &mut Vec<String>,
) -> T {
    read.unwrap_or_else(|error| {
        unseen.push(format!("{what}: {:#}", error.into()));
        T::default()
    })
}

fn bridge_nf_call() -> Option<bool> {
    Some(fs::read_to_string(BRIDGE_NF_CALL).ok()?.trim() != "0")
}

// === impl Reading ===

impl Reading {
    /// What the counters rose by since `self` was read, with the settings of `end`; of queues only
    /// those of `uplinks`. Adds to `unseen` what could not be read at either time.
    #[must_use]
    pub fn until(&self, end: Self, uplinks: &[u32], unseen: &mut Vec<String>) -> Statistics {
        let only_before = self.unseen.iter().filter(|line| !end.unseen.contains(line)).cloned();
        unseen.extend(only_before);
        unseen.extend(end.unseen);
        let mut risen = difference::between(&self.absolute, end.absolute);
        risen.queues.retain(|queue| uplinks.contains(&queue.ifindex));
        risen
    }
}
