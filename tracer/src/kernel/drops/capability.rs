//! What drops this kernel shows, with these privileges.

use super::{DropError, DropOptions, DropSession, DropVariant, kernel_types};
use crate::{
    evidence::{Capability, CapabilityState},
    kernel::symbols::Symbols,
};

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
            Err(error) => Some(error.degradation()?),
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
            let places = places(session.types.reasons(), Symbols::are_visible());
            vec![places, packets(session.because())]
        }
        Err(error) => {
            let reason = format!("{error:#}");
            let off = |feature, lost| {
                capability(feature, CapabilityState::Off, format!("{reason}; lost: {lost}"))
            };
            vec![
                off(PLACES, "reason and symbol of a drop"),
                off(PACKETS, "protocol and inner packet of a drop"),
            ]
        }
    }
}

fn places(reasons: Option<usize>, symbols: bool) -> Capability {
    let reasons = match reasons {
        Some(number) => format!("this kernel has {number} reasons"),
        None => "this kernel gives no reasons (Linux 5.17 and newer do), but symbols".to_owned(),
    };
    if symbols {
        return capability(PLACES, CapabilityState::On, format!("read at kfree_skb; {reasons}"));
    }
    let hidden = "the kernel hides its addresses (CAP_SYSLOG shows them); lost: symbols of drops";
    capability(PLACES, CapabilityState::Degraded, hidden.to_owned())
}

fn packets(because: Option<&str>) -> Capability {
    match because {
        None => {
            let because = "headers of dropped packets are read".to_owned();
            capability(PACKETS, CapabilityState::On, because)
        }
        Some(because) => {
            let lost = "protocol, segments and inner packet of a drop";
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
        let state = |reasons, symbols| places(reasons, symbols).state;
        assert_eq!(state(Some(90), true), CapabilityState::On);
        assert_eq!(state(None, true), CapabilityState::On);
        assert_eq!(state(Some(90), false), CapabilityState::Degraded);
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
