//! How much the maps of the drop programs may hold.

use tracer_common::{
    config::Config,
    drop::{DROP_FLOWS, DropFlowKey, DropFlowValue, PLACES},
};

/// Bytes that the tables of flows may take of the kernel's memory on four processors: what the
/// stages leave of 16 MiB. On more it is as many times more, up to four times, because each of them
/// wants entries in stock (LOCAL_FREE_TARGET, kernel/bpf/bpf_lru_list.c).
const FLOW_MEMORY: u32 = 256 << 10;
const FEW: u32 = 4;
/// Bytes of an entry beside its key and values, as of the stages' flows.
const ENTRY_OVERHEAD: u32 = 72;
/// Of so many parts of the memory, [`LESSER`] are for the IP version that no pod has: the node's own
/// packets of it are dropped too, and only their addresses tell a healthy node's from others.
const PARTS: u32 = 8;
const LESSER: u32 = 3;

/// Entries of the drop programs' maps. What comes later is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropEntries {
    /// Places, on each CPU; a power of two.
    pub places: u32,
    /// IPv4 flows at these.
    pub flows4: u32,
    /// IPv6 flows at these.
    pub flows6: u32,
}

// === impl DropEntries ===

impl DropEntries {
    /// For the IP versions that the node's pods have, on so many CPUs.
    pub(super) fn fitting(config: &Config, cpus: u32) -> Self {
        let memory = FLOW_MEMORY * cpus.clamp(FEW, 4 * FEW) / FEW;
        let entries = |parts: u32, bytes: u32| (memory / PARTS * parts / bytes).min(DROP_FLOWS);
        let parts4 = match (config.v4.is_used(), config.v6.is_used()) {
            (false, true) => LESSER,
            (true, true) => PARTS / 2,
            (_, false) => PARTS - LESSER,
        };
        Self {
            places: PLACES,
            flows4: entries(parts4, entry_bytes::<u32>(cpus)),
            flows6: entries(PARTS - parts4, entry_bytes::<[u32; 4]>(cpus)),
        }
    }
}

const fn entry_bytes<A>(cpus: u32) -> u32 {
    let value = size_of::<DropFlowValue>() as u32;
    ENTRY_OVERHEAD + size_of::<DropFlowKey<A>>() as u32 + cpus * value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_stay_within_their_memory_and_hold_what_is_worth_it() {
        for (v4, v6) in [(true, false), (true, true), (false, true), (false, false)] {
            let mut config = Config::NONE;
            if v4 {
                config.v4.set_tunnel(1, 8472, 1450);
            }
            if v6 {
                config.v6.set_tunnel(1, 8472, 1430);
            }
            for cpus in [1, 2, 4, 8, 64, 256] {
                let entries = DropEntries::fitting(&config, cpus);
                let bytes = entries.flows4 * entry_bytes::<u32>(cpus)
                    + entries.flows6 * entry_bytes::<[u32; 4]>(cpus);
                let limit = if cpus <= 4 { FLOW_MEMORY } else { 4 * FLOW_MEMORY };
                assert!(bytes <= limit + 4096, "{cpus} CPUs: {entries:?}");
                assert!(entries.flows4.min(entries.flows6) > 170, "{cpus} CPUs: {entries:?}");
            }
        }
    }
}
