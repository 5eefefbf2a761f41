//! How large the flow tables may be.

use tracer_common::{
    config::Config,
    flow::{FLOWS, FlowKey, FlowValue},
};

/// Bytes that the flow tables may take of the kernel's memory.
const FLOW_MEMORY: u32 = 48 << 20;
/// Bytes of an entry beside its key and values: hash element, list node (kernel/bpf/hashtab.c).
const ENTRY_OVERHEAD: u32 = 72;
/// The least that a table can have; the kernel rounds it up to some for each CPU.
const UNUSED: u32 = 1;

/// Entries of the flow tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FlowEntries {
    /// Of IPv4.
    pub(super) v4: u32,
    /// Of IPv6.
    pub(super) v6: u32,
}

impl FlowEntries {
    /// Such that both tables together stay below [`FLOW_MEMORY`] on any number of CPUs, and on few
    /// of them below what IPv4 alone takes.
    pub(super) fn fitting(config: &Config, cpus: u32) -> Self {
        let v4 = |share: u32| (FLOW_MEMORY / share / entry_bytes::<u32>(cpus)).min(FLOWS / share);
        // A table of as many bytes as that of IPv4 has fewer entries.
        let v6 = |share| v4(share) * entry_bytes::<u32>(cpus) / entry_bytes::<[u32; 4]>(cpus);
        match (config.v4.is_used(), config.v6.is_used()) {
            (true, true) => Self { v4: v4(2), v6: v6(2) },
            (false, true) => Self { v4: UNUSED, v6: v6(1) },
            (_, false) => Self::of_ipv4(cpus),
        }
    }

    /// On a node whose pods have IPv4 addresses only.
    pub(super) fn of_ipv4(cpus: u32) -> Self {
        Self { v4: (FLOW_MEMORY / entry_bytes::<u32>(cpus)).min(FLOWS), v6: UNUSED }
    }
}

/// Bytes that the kernel takes for an entry; every CPU has a value, rounded up to eight bytes.
const fn entry_bytes<A>(cpus: u32) -> u32 {
    let value = size_of::<FlowValue<A>>().next_multiple_of(8);
    ENTRY_OVERHEAD + size_of::<FlowKey<A>>() as u32 + cpus * value as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(v4: bool, v6: bool) -> Config {
        let mut config = Config::NONE;
        if v4 {
            config.v4.set_tunnel(1, 8472, 1450);
        }
        if v6 {
            config.v6.set_tunnel(1, 8472, 1430);
        }
        config
    }

    fn bytes(entries: FlowEntries, cpus: u32) -> u32 {
        entries.v4 * entry_bytes::<u32>(cpus) + entries.v6 * entry_bytes::<[u32; 4]>(cpus)
    }

    #[test]
    fn the_flow_tables_stay_within_their_memory_on_any_number_of_cpus() {
        assert_eq!(FlowEntries::of_ipv4(4), FlowEntries { v4: FLOWS, v6: UNUSED });
        for (v4, v6) in [(true, false), (true, true), (false, true)] {
            for cpus in [1, 4, 8, 64, 256, 1024] {
                let entries = FlowEntries::fitting(&config(v4, v6), cpus);
                let limit = if cpus <= 4 { 16 << 20 } else { FLOW_MEMORY + 8192 * cpus };
                assert!(bytes(entries, cpus) <= limit, "{cpus} CPUs: {entries:?}");
                assert!(entries.v4 + entries.v6 > 500, "{cpus} CPUs: {entries:?}");
            }
        }
    }
}
