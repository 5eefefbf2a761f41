//! What drops this kernel shows, with these privileges.

use super::{DropError, DropOptions, DropSession, DropVariant, kernel_types, lockdown};
use crate::evidence::{Capability, CapabilityState};

const PLACES: &str = "drops";
const PACKETS: &str = "drop-flows";

/// Loads and attaches both programs, each for a moment, and says what each gives.
#[must_use]
pub(in crate::kernel) fn probe_drops() -> Vec<Capability> {
    let session = DropSession::open(&DropOptions::default()).and_then(|mut session| {
        let btf = kernel_types()?;
        session.attach(DropVariant::Places, &btf)?;
        session.because = match session.attach(DropVariant::Packets, &btf) {
            Ok(()) => None,
            Err(error) => Some(error.degradation(lockdown().as_deref())?),
        };
        Ok(session)
    });
    drop_capabilities(session.as_ref())
}

/// What a session that was started, or could not be, says of its features.
#[must_use]
pub fn drop_capabilities(session: Result<&DropSession, &DropError>) -> Vec<Capability> {
    match session {
        Ok(session) => {
            let places = places(session.types.reasons(), session.hidden.as_deref());
            vec![places, packets(session.because())]
        }
        Err(error) => {
            let reason = format!("{error:#}");
            let off = |feature, lost| {
                capability(feature, CapabilityState::Off, format!("{reason}; lost: {lost}"))
            };
            vec![
                off(PLACES, "reason and symbol of a drop"),
                off(PACKETS, "flow of a drop, and drops in pods"),
            ]
        }
    }
}

/// `hidden` says who hides the kernel's addresses, if they are hidden.
fn places(reasons: Option<usize>, hidden: Option<&str>) -> Capability {
    let reasons = match reasons {
        Some(number) => format!("this kernel has {number} reasons"),
        None => "this kernel gives no reasons (Linux 5.17 and newer do), but symbols".to_owned(),
    };
    let Some(hidden) = hidden else {
        return capability(PLACES, CapabilityState::On, format!("read at kfree_skb; {reasons}"));
    };
    capability(PLACES, CapabilityState::Degraded, format!("{hidden}; lost: symbols of drops"))
}

fn packets(because: Option<&str>) -> Capability {
    match because {
        None => {
            let because = "headers of dropped packets are read".to_owned();
            capability(PACKETS, CapabilityState::On, because)
        }
        Some(because) => {
            let lost = "flow and segments of a drop, and drops in pods";
            let because = format!("{because}; lost: {lost}");
            capability(PACKETS, CapabilityState::Degraded, because)
        }
    }
}

fn capability(feature: &str, state: CapabilityState, because: String) -> Capability {
    Capability { feature: feature.to_owned(), state, because }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::refusal::Refusal;

    #[test]
    fn hidden_addresses_degrade_and_missing_reasons_do_not() {
        assert_eq!(places(Some(90), None).state, CapabilityState::On);
        assert_eq!(places(None, None).state, CapabilityState::On);
        let hidden = places(Some(90), Some("kptr_restrict is 2"));
        assert_eq!(hidden.state, CapabilityState::Degraded);
        assert_eq!(hidden.because, "kptr_restrict is 2; lost: symbols of drops");
    }

    #[test]
    fn what_is_lost_is_told_on_one_line() {
        let (program, reason) = ("drop_places".to_owned(), "R1 is bad".to_owned());
        let error = DropError::Refused(Refusal::Verifier { program, reason });
        for capability in drop_capabilities(Err(&error)) {
            assert_eq!(capability.state, CapabilityState::Off);
            let expected = "the kernel refuses program drop_places: R1 is bad";
            assert!(capability.because.starts_with(expected), "{capability:?}");
            assert!(capability.because.contains("; lost: "), "{capability:?}");
        }
        assert!(packets(Some("so")).because.starts_with("so; lost: "));
    }
}
