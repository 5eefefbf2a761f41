//! The Linux capabilities of this process: what the kernel asks for, and who has it.

use procfs::process::Process;

/// A Linux capability that the tracer has a use for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Privilege {
    NetAdmin,
    SysPtrace,
    SysResource,
    Syslog,
    Perfmon,
    Bpf,
}

/// CAP_SYS_ADMIN, which stands for BPF and PERFMON too (`bpf_capable`, `perfmon_capable`:
/// include/linux/capability.h, 5.8).
const SYS_ADMIN: u32 = 21;

/// What is effective in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Privileges(u64);

// === impl Privilege ===

impl Privilege {
    /// Its name without `CAP_`, as Kubernetes has it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::NetAdmin => "NET_ADMIN",
            Self::SysPtrace => "SYS_PTRACE",
            Self::SysResource => "SYS_RESOURCE",
            Self::Syslog => "SYSLOG",
            Self::Perfmon => "PERFMON",
            Self::Bpf => "BPF",
        }
    }

    /// Its number (include/uapi/linux/capability.h, 5.9).
    const fn number(self) -> u32 {
        match self {
            Self::NetAdmin => 12,
            Self::SysPtrace => 19,
            Self::SysResource => 24,
            Self::Syslog => 34,
            Self::Perfmon => 38,
            Self::Bpf => 39,
        }
    }

    /// The bits of which one is enough.
    const fn bits(self) -> u64 {
        let own = 1 << self.number();
        match self {
            Self::Bpf | Self::Perfmon => own | 1 << SYS_ADMIN,
            _ => own,
        }
    }
}

// === impl Privileges ===

impl Privileges {
    /// Those of this process; none at all when /proc does not say.
    pub(super) fn effective() -> Self {
        let status = Process::myself().and_then(|myself| myself.status());
        Self(status.map_or(0, |status| status.capeff))
    }

    /// Whether what `privilege` stands for is allowed.
    pub(super) const fn has(self, privilege: Privilege) -> bool {
        self.0 & privilege.bits() != 0
    }

    /// Those of `needed` that are missing, in their order.
    pub(super) fn missing(self, needed: &[Privilege]) -> Vec<Privilege> {
        needed.iter().copied().filter(|privilege| !self.has(*privilege)).collect()
    }

    #[cfg(test)]
    pub(super) fn of(privileges: &[Privilege]) -> Self {
        Self(privileges.iter().fold(0, |bits, privilege| bits | 1 << privilege.number()))
    }
}

/// `BPF`, `BPF and NET_ADMIN`, `BPF, NET_ADMIN and SYSLOG`.
pub(super) fn listed(privileges: &[Privilege]) -> String {
    let names: Vec<&str> = privileges.iter().map(|privilege| privilege.name()).collect();
    match names.as_slice() {
        [] => "none".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// `the capability BPF`, `the capabilities BPF and NET_ADMIN`.
pub(super) fn phrase(privileges: &[Privilege]) -> String {
    let noun = if privileges.len() == 1 { "capability" } else { "capabilities" };
    format!("the {noun} {}", listed(privileges))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sys_admin_stands_for_bpf_and_perfmon_and_for_nothing_else() {
        let admin = Privileges(1 << SYS_ADMIN);
        assert!(admin.has(Privilege::Bpf) && admin.has(Privilege::Perfmon));
        assert!(!admin.has(Privilege::NetAdmin) && !admin.has(Privilege::Syslog));
    }

    #[test]
    fn what_is_missing_is_told_in_the_order_asked_for() {
        let some = Privileges::of(&[Privilege::NetAdmin, Privilege::Syslog]);
        let needed = [Privilege::Bpf, Privilege::NetAdmin, Privilege::Perfmon];
        assert_eq!(listed(&some.missing(&needed)), "BPF and PERFMON");
        assert_eq!(phrase(&needed), "the capabilities BPF, NET_ADMIN and PERFMON");
        assert_eq!(phrase(&needed[..1]), "the capability BPF");
    }
}
