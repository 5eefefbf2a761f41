//! Whether the node's processes can be seen.

use crate::{
    evidence::Capability,
    kernel::privileges::{Privilege, Privileges},
    process::{Visibility, visibility},
};

const FEATURE: &str = "processes";
const LOST: &str = "flannel's process and its age, and the names of others";

pub(super) fn rung() -> Capability {
    judge(visibility(), Privileges::effective().has(Privilege::SysPtrace))
}

fn judge(visibility: Visibility, may_look: bool) -> Capability {
    let because = match visibility {
        Visibility::Node => return super::on(FEATURE, "the node's processes are visible"),
        Visibility::Unreadable if may_look => {
            "namespaces of some cannot be read: a security module forbids it"
        }
        Visibility::Unreadable => {
            "namespaces of some cannot be read without the capability SYS_PTRACE"
        }
        Visibility::OwnNamespace => {
            "only those of this PID namespace are visible (hostPID: true, or kubectl debug \
             --profile=sysadmin, shows the node's)"
        }
    };
    super::degraded(FEATURE, because, LOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::CapabilityState;

    #[test]
    fn what_hides_processes_is_told() {
        assert_eq!(judge(Visibility::Node, false).state, CapabilityState::On);
        for (visibility, may_look, reason) in [
            (Visibility::Unreadable, false, "without the capability SYS_PTRACE"),
            (Visibility::Unreadable, true, "security module"),
            (Visibility::OwnNamespace, true, "hostPID: true"),
        ] {
            let said = judge(visibility, may_look);
            assert_eq!(said.state, CapabilityState::Degraded);
            assert!(said.because.contains(reason) && said.because.contains("; lost: "), "{said:?}");
        }
    }
}
