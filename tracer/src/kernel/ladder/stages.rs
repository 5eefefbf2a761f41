//! The six stages: every program is loaded, put on `lo` and taken off again, by TCX or clsact.

use tracer_common::names;

use crate::{
    evidence::{Capability, CapabilityState, Hook, HookDirection},
    kernel::{AttachMode, Plan, PlannedHook, Session, StartError},
};

const FEATURE: &str = "stages";
const EVERYTHING: &str = "all packet counts";

/// Stages, and each way to attach. One pair of programs shows what a way is worth; the others go
/// by the better one.
pub(super) fn probe(plan: &Plan) -> Vec<Capability> {
    let pairs: Vec<Vec<PlannedHook>> = pairs_on_loopback().collect();
    let attempt = |mode, pairs: &[Vec<PlannedHook>]| attach_all(plan, mode, pairs);
    let tcx = attempt(AttachMode::Tcx, &pairs[..1]);
    let clsact = attempt(AttachMode::Clsact, &pairs[..1]);
    let [tcx, clsact] = [&tcx, &clsact].map(|it| Verdict::of(it.as_ref().map(Vec::as_slice)));
    let (mode, best) = match tcx.state {
        CapabilityState::On => (AttachMode::Tcx, &tcx),
        _ => (AttachMode::Clsact, &clsact),
    };
    let stages = match best.state {
        CapabilityState::On => of_session(attempt(mode, &pairs[1..]).as_ref().map(Vec::as_slice)),
        _ => best.capability(FEATURE, best.lost.as_deref()),
    };
    let tidiness = "tidiness: a killed tracer leaves its clsact filters";
    vec![stages, tcx.way("tcx", tidiness), clsact.way("clsact", "nothing where there is TCX")]
}

/// What a session that was started, or could not be, says of the stages.
pub(super) fn of_session(session: Result<&[Hook], &StartError>) -> Capability {
    let verdict = Verdict::of(session);
    verdict.capability(FEATURE, verdict.lost.as_deref())
}

/// Two programs at a time, one on each side: a tracer has one clsact filter on a side.
fn attach_all(
    plan: &Plan,
    mode: AttachMode,
    pairs: &[Vec<PlannedHook>],
) -> Result<Vec<Hook>, StartError> {
    let mut tried = Vec::new();
    for hooks in pairs {
        let session = Session::start(&Plan { hooks: hooks.clone(), ..plan.clone() }, mode)?;
        tried.extend_from_slice(session.hooks());
    }
    Ok(tried)
}

/// A hook on `lo` for each program, at most one on each side at a time.
fn pairs_on_loopback() -> impl Iterator<Item = Vec<PlannedHook>> {
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
    /// Whether programs could be loaded at all.
    loaded: bool,
}

impl Verdict {
    fn of(session: Result<&[Hook], &StartError>) -> Self {
        let everything = Some(EVERYTHING.to_owned());
        let hooks = match session {
            Ok(hooks) => hooks,
            Err(error) => {
                let reason = error.to_string();
                let state = CapabilityState::Off;
                return Self { state, reason, lost: everything, loaded: false };
            }
        };
        let Some(missing) = hooks.iter().find(|hook| !hook.attached) else {
            let (state, reason) = (CapabilityState::On, ways(hooks));
            return Self { state, reason, lost: None, loaded: true };
        };
        let (state, lost) = if hooks.iter().any(|hook| hook.attached) {
            (CapabilityState::Degraded, Some(format!("packets at {}", missing.interface)))
        } else {
            (CapabilityState::Off, everything)
        };
        Self { state, reason: missing.because.clone(), lost, loaded: true }
    }

    /// This verdict as that of a way to attach: without programs the stages say why.
    fn way(&self, feature: &str, lost: &str) -> Capability {
        if self.loaded {
            return self.capability(feature, Some(lost));
        }
        super::off(feature, "no program can be loaded, see stages", lost)
    }

    /// This verdict as that of `feature`, which costs `lost` when it is not on.
    fn capability(&self, feature: &str, lost: Option<&str>) -> Capability {
        let lost = lost.filter(|_| self.state != CapabilityState::On);
        let because = match lost {
            Some(lost) => format!("{}; lost: {lost}", self.reason),
            None => self.reason.clone(),
        };
        super::capability(feature, self.state, because)
    }
}

/// The ways in which hooks are attached, each once.
fn ways(hooks: &[Hook]) -> String {
    let mut ways: Vec<&str> = hooks.iter().map(|hook| hook.because.as_str()).collect();
    ways.sort_unstable();
    ways.dedup();
    format!("attached by {}", ways.join(" and "))
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
        for hooks in pairs_on_loopback() {
            assert!(hooks.windows(2).all(|two| two[0].direction != two[1].direction), "{hooks:?}");
            tried.extend(hooks.iter().map(|hook| hook.program));
        }
        assert_eq!(tried, names::PROGRAMS);
    }

    #[test]
    fn one_missing_hook_degrades_and_all_missing_switch_off() {
        let state = |hooks: &[Hook]| of_session(Ok(hooks)).state;
        assert_eq!(state(&[hook("a", true), hook("b", true)]), CapabilityState::On);
        assert_eq!(state(&[hook("a", true), hook("b", false)]), CapabilityState::Degraded);
        assert_eq!(state(&[hook("a", false)]), CapabilityState::Off);
        let degraded = of_session(Ok(&[hook("a", true), hook("b", false)]));
        assert_eq!(degraded.because, "no such device; lost: packets at b");
    }
}
