//! Memory for the maps: what the kernel lets this process have, and what the maps take of it.

use tracer_common::flow::FLOWS;

use crate::{
    evidence::Capability,
    kernel::{
        flow_table::FlowEntries,
        memlock::Memlock,
        privileges::{Privilege, Privileges},
        session::possible_cpus,
    },
};

const FEATURE: &str = "memory";
/// More than all maps of a session take together.
const NEEDED: u64 = 64 << 20;

pub(super) fn rung() -> Capability {
    let can_raise = Privileges::effective().has(Privilege::SysResource);
    judge(possible_cpus(), Memlock::applying(), can_raise)
}

/// `memlock` is `None` where the kernel does not apply it.
fn judge(cpus: u32, memlock: Option<Memlock>, can_raise: bool) -> Capability {
    let entries = FlowEntries::of_ipv4(cpus).v4;
    let table = format!("a flow table of {entries} entries for {cpus} possible CPUs");
    let (enough, charged) = charge(memlock, can_raise);
    let because = format!("{table}; {charged}");
    if !enough {
        let help = "; `ulimit -l unlimited` or LimitMEMLOCK=infinity allows more";
        return super::off(FEATURE, &(because + help), "all packet counts");
    }
    if entries < FLOWS {
        let lost = format!("flows beyond {entries} at a time, which only the totals count");
        return super::degraded(FEATURE, &because, &lost);
    }
    super::on(FEATURE, because)
}

/// Whether the maps may be had, and by which rule.
fn charge(memlock: Option<Memlock>, can_raise: bool) -> (bool, String) {
    let Some(Memlock { hard, .. }) = memlock else {
        return (true, "not charged to RLIMIT_MEMLOCK (since Linux 5.11)".to_owned());
    };
    let charged = "charged to RLIMIT_MEMLOCK (before Linux 5.11)";
    match hard {
        None => (true, format!("{charged}, which has no limit")),
        Some(hard) if can_raise => {
            (true, format!("{charged}, {} KiB, which SYS_RESOURCE can raise", hard / 1024))
        }
        Some(hard) => {
            let limit = hard / 1024;
            let raise = "which only SYS_RESOURCE could raise";
            (hard >= NEEDED, format!("{charged}, {limit} KiB at most, {raise}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::CapabilityState;

    fn limited(hard: u64) -> Option<Memlock> {
        Some(Memlock { soft: Some(64 << 10), hard: Some(hard) })
    }

    #[test]
    fn the_limit_counts_only_where_it_applies_and_cannot_be_raised() {
        let state = |memlock, can_raise| judge(4, memlock, can_raise).state;
        assert_eq!(state(None, false), CapabilityState::On);
        assert_eq!(state(limited(64 << 10), true), CapabilityState::On);
        assert_eq!(state(limited(64 << 10), false), CapabilityState::Off);
        assert_eq!(state(limited(NEEDED), false), CapabilityState::On);
        assert_eq!(state(Some(Memlock { soft: None, hard: None }), false), CapabilityState::On);
        let off = judge(4, limited(64 << 10), false).because;
        assert!(off.contains("64 KiB at most") && off.contains("ulimit -l unlimited"), "{off}");
    }

    #[test]
    fn many_cpus_scale_the_flow_table_down_and_that_is_said() {
        let scaled = judge(256, None, true);
        assert_eq!(scaled.state, CapabilityState::Degraded);
        let entries = FlowEntries::of_ipv4(256).v4;
        assert!(scaled.because.contains(&format!("{entries} entries for 256")), "{scaled:?}");
    }
}
