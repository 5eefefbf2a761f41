//! Which Linux capabilities are effective, and what is lost without each.

use crate::{
    evidence::Capability,
    kernel::{
        memlock::Memlock,
        privileges::{Privilege, Privileges, listed},
        refusal::asks_for_perfmon,
    },
    process,
};

const FEATURE: &str = "privileges";
/// What PERFMON is for besides where the verifier takes no program without it.
const STAGES: &str = "all packet counts";
/// What each is for, the most needed first.
const USES: [(Privilege, &str); 6] = [
    (Privilege::Bpf, "everything that programs tell"),
    (Privilege::NetAdmin, "all packet counts and the signs of flannel in the firewall"),
    (Privilege::Perfmon, "drops and who changed a table"),
    (Privilege::Syslog, "the function that dropped a packet"),
    (Privilege::SysPtrace, "flannel's process and the names of others"),
    (Privilege::SysResource, "a higher RLIMIT_MEMLOCK"),
];

pub(super) fn rung() -> Capability {
    let kernel = Kernel {
        charges: Memlock::applying().is_some(),
        asks_for_perfmon: asks_for_perfmon(&process::kernel_release()),
    };
    judge(Privileges::effective(), kernel)
}

/// What a kernel asks for beside what all do.
#[derive(Clone, Copy)]
struct Kernel {
    /// It charges maps to RLIMIT_MEMLOCK.
    charges: bool,
    /// Its verifier takes no program of the stages without PERFMON.
    asks_for_perfmon: bool,
}

fn judge(privileges: Privileges, kernel: Kernel) -> Capability {
    let needed = |(privilege, _): &&(Privilege, &str)| {
        *privilege != Privilege::SysResource || kernel.charges
    };
    let (have, missing): (Vec<_>, Vec<_>) =
        USES.iter().filter(needed).partition(|(privilege, _)| privileges.has(*privilege));
    let names = |of: &[&(Privilege, &str)]| {
        listed(&of.iter().map(|(privilege, _)| *privilege).collect::<Vec<_>>())
    };
    if missing.is_empty() {
        return super::on(FEATURE, format!("{}: all that are needed", names(&have)));
    }
    let mut lost: Vec<&str> = missing.iter().map(|(_, lost)| *lost).collect();
    if kernel.asks_for_perfmon && !privileges.has(Privilege::Perfmon) {
        lost.insert(0, STAGES);
    }
    let lost = lost.join(", ");
    let because = format!("without {}", names(&missing));
    if have.is_empty() {
        return super::off(FEATURE, &because, &lost);
    }
    super::degraded(FEATURE, &because, &lost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::CapabilityState;

    const ALL: [Privilege; 6] = {
        let [a, b, c, d, e, f] = USES;
        [a.0, b.0, c.0, d.0, e.0, f.0]
    };

    const NEW: Kernel = Kernel { charges: false, asks_for_perfmon: false };
    const CHARGING: Kernel = Kernel { charges: true, ..NEW };

    #[test]
    fn each_missing_one_is_named_with_what_it_costs() {
        assert_eq!(judge(Privileges::of(&ALL), CHARGING).state, CapabilityState::On);
        for (privilege, lost) in USES {
            let rest: Vec<Privilege> = ALL.into_iter().filter(|it| *it != privilege).collect();
            let said = judge(Privileges::of(&rest), CHARGING);
            assert_eq!(said.state, CapabilityState::Degraded);
            assert_eq!(said.because, format!("without {}; lost: {lost}", privilege.name()));
        }
        assert_eq!(judge(Privileges::of(&[]), CHARGING).state, CapabilityState::Off);
    }

    #[test]
    fn perfmon_costs_the_stages_where_the_verifier_asks_for_it() {
        let old = Kernel { asks_for_perfmon: true, ..NEW };
        let rest: Vec<Privilege> = ALL.into_iter().filter(|it| *it != Privilege::Perfmon).collect();
        let said = judge(Privileges::of(&rest), old);
        assert!(said.because.contains("; lost: all packet counts, drops"), "{}", said.because);
        let all = judge(Privileges::of(&ALL), old);
        assert!(!all.because.contains(STAGES), "{}", all.because);
    }

    #[test]
    fn nobody_needs_sys_resource_where_maps_are_not_charged() {
        let without = Privileges::of(&ALL[..5]);
        assert_eq!(judge(without, NEW).state, CapabilityState::On);
        assert_eq!(judge(without, CHARGING).state, CapabilityState::Degraded);
    }
}
