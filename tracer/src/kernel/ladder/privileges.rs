//! Which Linux capabilities are effective, and what is lost without each.

use crate::{
    evidence::Capability,
    kernel::{
        memlock::Memlock,
        privileges::{Privilege, Privileges, listed},
    },
};

const FEATURE: &str = "privileges";
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
    judge(Privileges::effective(), Memlock::applying().is_some())
}

/// `charged`: whether the kernel charges maps to RLIMIT_MEMLOCK.
fn judge(privileges: Privileges, charged: bool) -> Capability {
    let needed =
        |(privilege, _): &&(Privilege, &str)| *privilege != Privilege::SysResource || charged;
    let (have, missing): (Vec<_>, Vec<_>) =
        USES.iter().filter(needed).partition(|(privilege, _)| privileges.has(*privilege));
    let names = |of: &[&(Privilege, &str)]| {
        listed(&of.iter().map(|(privilege, _)| *privilege).collect::<Vec<_>>())
    };
    if missing.is_empty() {
        return super::on(FEATURE, format!("{}: all that are needed", names(&have)));
    }
    let lost = missing.iter().map(|(_, lost)| *lost).collect::<Vec<_>>().join(", ");
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

    #[test]
    fn each_missing_one_is_named_with_what_it_costs() {
        assert_eq!(judge(Privileges::of(&ALL), true).state, CapabilityState::On);
        for (privilege, lost) in USES {
            let rest: Vec<Privilege> = ALL.into_iter().filter(|it| *it != privilege).collect();
            let said = judge(Privileges::of(&rest), true);
            assert_eq!(said.state, CapabilityState::Degraded);
            assert_eq!(said.because, format!("without {}; lost: {lost}", privilege.name()));
        }
        assert_eq!(judge(Privileges::of(&[]), true).state, CapabilityState::Off);
    }

    #[test]
    fn nobody_needs_sys_resource_where_maps_are_not_charged() {
        let without = Privileges::of(&ALL[..5]);
        assert_eq!(judge(without, false).state, CapabilityState::On);
        assert_eq!(judge(without, true).state, CapabilityState::Degraded);
    }
}
