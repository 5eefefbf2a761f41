//! What this kernel offers, with these privileges.

use std::path::Path;

use tracer_common::names;

use super::{AttachMode, Plan, PlannedHook, Session, StartError, drops::probe_drops};
use crate::evidence::{Capability, CapabilityState, Hook, HookDirection};

/// Where the kernel shows its own type information.
const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// The oldest kernel that the programs run on.
pub const MINIMUM_KERNEL: (u8, u8) = (5, 10);

/// The running kernel is too old.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "this is Linux {release}; flannel-tracer needs 5.10 or newer: look from a node with a newer \
     kernel, or at the tables alone with --duration 0"
)]
pub struct TooOld {
    release: String,
}

/// Checks the running kernel against [`MINIMUM_KERNEL`]. `release` is what `uname -r` prints.
///
/// # Errors
/// When it is older.
pub fn require_kernel(release: &str) -> Result<(), TooOld> {
    let (major, minor) = MINIMUM_KERNEL;
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().ok());
    let version = (numbers.next().flatten(), numbers.next().flatten());
    match version {
        (Some(a), Some(b)) if (a, b) < (u32::from(major), u32::from(minor)) => {
            Err(TooOld { release: release.to_owned() })
        }
        // A release that does not begin with two numbers is left to the kernel to refuse.
        _ => Ok(()),
    }
}

/// What a session that was started, or could not be, says of the tracer's features.
#[must_use]
pub fn capabilities(session: Result<&[Hook], &StartError>) -> Vec<Capability> {
    vec![stages(session), btf(Path::new(KERNEL_BTF).exists()), drops()]
}

/// Tries every feature, without looking at any device but the loopback: every program is loaded,
/// put on `lo` and taken off again, by either way of attaching.
#[must_use]
pub fn probe(plan: &Plan) -> Vec<Capability> {
    let (tcx, clsact) = (try_all(plan, AttachMode::Tcx), try_all(plan, AttachMode::Clsact));
    let verdict =
        |hooks: &Result<Vec<Hook>, StartError>| Verdict::of(hooks.as_ref().map(Vec::as_slice));
    let (tcx, clsact) = (verdict(&tcx), verdict(&clsact));
    let best = if tcx.state == CapabilityState::On { &tcx } else { &clsact };
    let stages = [
        best.capability("stages", best.lost.as_deref()),
        tcx.capability("tcx", Some("tidiness: a killed tracer leaves its clsact filters")),
        clsact.capability("clsact", Some("nothing where there is TCX")),
        btf(Path::new(KERNEL_BTF).exists()),
    ];
    stages.into_iter().chain(probe_drops()).collect()
}

/// Two programs at a time, one on each side: a tracer has one clsact filter on a side.
fn try_all(plan: &Plan, mode: AttachMode) -> Result<Vec<Hook>, StartError> {
    let mut tried = Vec::new();
    for hooks in on_loopback() {
        let session = Session::start(&Plan { hooks, ..plan.clone() }, mode)?;
        tried.extend_from_slice(session.hooks());
    }
    Ok(tried)
}

/// A hook on `lo` for each program, at most one on each side at a time.
fn on_loopback() -> impl Iterator<Item = Vec<PlannedHook>> {
    names::PROGRAMS.chunks(2).map(|programs| {
        let sides = [HookDirection::Ingress, HookDirection::Egress];
        let hook = |(program, direction): (&&'static str, HookDirection)| PlannedHook {
            interface: "lo".to_owned(),
            ifindex: 1,
            direction,
            program,
        };
        programs.iter().zip(sides).map(hook).collect()
    })
}

/// What an attempt to observe the stages says.
struct Verdict {
    state: CapabilityState,
    reason: String,
    /// What it costs the stages.
    lost: Option<String>,
}

impl Verdict {
    fn of(session: Result<&[Hook], &StartError>) -> Self {
        let everything = Some("all packet counts".to_owned());
        let hooks = match session {
            Ok(hooks) => hooks,
            Err(error) => {
                let reason = error.to_string();
                return Self { state: CapabilityState::Off, reason, lost: everything };
            }
        };
        let Some(missing) = hooks.iter().find(|hook| !hook.attached) else {
            return Self { state: CapabilityState::On, reason: ways(hooks), lost: None };
        };
        let (state, lost) = if hooks.iter().any(|hook| hook.attached) {
            (CapabilityState::Degraded, Some(format!("packets at {}", missing.interface)))
        } else {
            (CapabilityState::Off, everything)
        };
        Self { state, reason: missing.because.clone(), lost }
    }

    /// This verdict as that of `feature`, which costs `lost` when it is not on.
    fn capability(&self, feature: &str, lost: Option<&str>) -> Capability {
        let lost = lost.filter(|_| self.state != CapabilityState::On);
        let because = match lost {
            Some(lost) => format!("{}; lost: {lost}", self.reason),
            None => self.reason.clone(),
        };
        Capability { feature: feature.to_owned(), state: self.state, because }
    }
}

fn stages(session: Result<&[Hook], &StartError>) -> Capability {
    let verdict = Verdict::of(session);
    verdict.capability("stages", verdict.lost.as_deref())
}

/// The ways in which hooks are attached, each once.
fn ways(hooks: &[Hook]) -> String {
    let mut ways: Vec<&str> = hooks.iter().map(|hook| hook.because.as_str()).collect();
    ways.sort_unstable();
    ways.dedup();
    format!("attached by {}", ways.join(" and "))
}

fn btf(present: bool) -> Capability {
    let (state, because) = if present {
        (CapabilityState::On, format!("{KERNEL_BTF} is there"))
    } else {
        (
            CapabilityState::Off,
            format!("{KERNEL_BTF} is missing (CONFIG_DEBUG_INFO_BTF); lost: drop reasons"),
        )
    };
    Capability { feature: "btf".to_owned(), state, because }
}

fn drops() -> Capability {
    Capability {
        feature: "drops".to_owned(),
        state: CapabilityState::Off,
        because: "this version does not read kernel drops; lost: reason and symbol of a drop"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(interface: &str, attached: bool) -> Hook {
        Hook {
            interface: interface.to_owned(),
            ifindex: 1,
            direction: HookDirection::Ingress,
            attached,
            because: if attached { "tcx" } else { "no such device" }.to_owned(),
            foreign: Vec::new(),
        }
    }

    #[test]
    fn every_program_is_tried_and_no_side_has_two_at_a_time() {
        let mut tried = Vec::new();
        for hooks in on_loopback() {
            assert!(hooks.windows(2).all(|two| two[0].direction != two[1].direction), "{hooks:?}");
            tried.extend(hooks.iter().map(|hook| hook.program));
        }
        assert_eq!(tried, names::PROGRAMS);
    }

    #[test]
    fn old_kernels_are_refused_and_odd_names_are_not() {
        for old in ["5.9.16", "4.19.0-27-amd64", "3.10.0-1160.el7", "5.4"] {
            assert!(require_kernel(old).is_err(), "{old}");
        }
        for new in ["5.10.0-30-amd64", "6.18.44", "7.2-rc1", "10.0", "custom"] {
            assert!(require_kernel(new).is_ok(), "{new}");
        }
    }

    #[test]
    fn one_missing_hook_degrades_and_all_missing_switch_off() {
        let state = |hooks: &[Hook]| stages(Ok(hooks)).state;
        assert_eq!(state(&[hook("a", true), hook("b", true)]), CapabilityState::On);
        assert_eq!(state(&[hook("a", true), hook("b", false)]), CapabilityState::Degraded);
        assert_eq!(state(&[hook("a", false)]), CapabilityState::Off);
        let degraded = stages(Ok(&[hook("a", true), hook("b", false)]));
        assert_eq!(degraded.because, "no such device; lost: packets at b");
    }
}
