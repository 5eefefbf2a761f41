//! Programs of others that run before ours on a hook. Any of them may end the chain, and then ours
//! does not see the packet.
//!
//! A side of a device runs its TCX programs first and its clsact filters after them
//! (net/core/dev.c, sch_handle_ingress and sch_handle_egress, 6.6 to 6.18). To be asked before
//! our own program is attached.

use std::io;

use aya::{
    programs::{ProgramError, SchedClassifier, TcAttachType},
    sys::SyscallError,
};
use tracer_common::names;

use super::PlannedHook;
use crate::{
    evidence::HookDirection,
    netlink::traffic_control::{FILTER_NAME, Filter, list_filters, priority},
};

/// Those before a TCX program of ours: at egress, where it is the last, all others of TCX.
pub(super) fn before_tcx(hook: &PlannedHook) -> Vec<String> {
    match hook.direction {
        HookDirection::Ingress => Vec::new(),
        HookDirection::Egress => tcx_programs(hook),
    }
}

/// Those before a clsact filter of ours: all of TCX, and the filters of lower priority.
pub(super) fn before_clsact(hook: &PlannedHook) -> Vec<String> {
    let mut foreign = tcx_programs(hook);
    match list_filters(hook.ifindex, hook.direction) {
        Ok(filters) => foreign.extend(filters_before(&filters, priority(hook.direction))),
        Err(error) => tracing::debug!("filters of {}: {error:#}", hook.interface),
    }
    foreign
}

/// Foreign filters that run before `ours`. A u32 filter is listed with its hash tables, each of
/// them once more: one name is enough.
fn filters_before(filters: &[Filter], ours: u16) -> Vec<String> {
    let mut names: Vec<String> = filters
        .iter()
        .filter(|filter| filter.priority < ours && filter.name.as_deref() != Some(FILTER_NAME))
        .map(|filter| {
            let name = filter.name.as_ref().map(|name| format!(" {name}"));
            let (kind, priority) = (&filter.kind, filter.priority);
            format!("{kind} filter{} of priority {priority}", name.unwrap_or_default())
        })
        .collect();
    names.dedup();
    names
}

/// The TCX programs of others on this side. Other tracers' let every packet pass.
fn tcx_programs(hook: &PlannedHook) -> Vec<String> {
    let side = match hook.direction {
        HookDirection::Ingress => TcAttachType::Ingress,
        HookDirection::Egress => TcAttachType::Egress,
    };
    match SchedClassifier::query_tcx(&hook.interface, side) {
        Ok((_, programs)) => programs
            .iter()
            .map(|program| program.name_as_str().unwrap_or("?").to_owned())
            .filter(|name| !is_a_tracers(name))
            .map(|name| format!("TCX program {name}"))
            .collect(),
        // A program's name is for CAP_SYS_ADMIN only; that there is one is not.
        Err(ProgramError::SyscallError(SyscallError {
            call: "bpf_prog_get_fd_by_id",
            io_error,
        })) if io_error.kind() == io::ErrorKind::PermissionDenied => {
            vec!["a TCX program, whose name needs CAP_SYS_ADMIN".to_owned()]
        }
        // A kernel without TCX does not know the question.
        Err(error) => {
            tracing::debug!("TCX programs of {}: {error}", hook.interface);
            Vec::new()
        }
    }
}

/// Programs of this tracer or of another: they let every packet pass.
fn is_a_tracers(name: &str) -> bool {
    names::PROGRAMS.contains(&name) || [names::VIP_IN, names::VIP_OUT].contains(&name)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn filter(priority: u16, kind: &str, name: Option<&str>) -> Filter {
        Filter {
            priority,
            handle: NonZeroU32::MIN,
            kind: kind.to_owned(),
            name: name.map(str::to_owned),
            protocol: 3,
            prog_id: None,
        }
    }

    #[test]
    fn filters_before_ours_are_named_once() {
        let filters = [
            filter(1, "bpf", Some(FILTER_NAME)),
            filter(2, "bpf", Some("cil_to_netdev")),
            filter(49152, "u32", None),
            filter(49152, "u32", None),
            filter(u16::MAX, "u32", None),
        ];
        assert_eq!(
            filters_before(&filters, u16::MAX),
            ["bpf filter cil_to_netdev of priority 2", "u32 filter of priority 49152"]
        );
        assert_eq!(filters_before(&filters, 1), Vec::<String>::new());
    }
}
