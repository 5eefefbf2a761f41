//! The kernel's symbols, which turn an address into the name of a function.

use std::io;

use crate::{
    evidence::Capability,
    kernel::symbols::{PATH, Symbols},
};

const FEATURE: &str = "symbols";
const LOST: &str = "the function that dropped a packet";

pub(super) fn rung() -> Capability {
    judge(Symbols::are_visible(), &Symbols::hidden_by())
}

fn judge(shown: io::Result<bool>, hidden_by: &str) -> Capability {
    match shown {
        Ok(true) => super::on(FEATURE, format!("{PATH} shows addresses")),
        Ok(false) => super::off(FEATURE, hidden_by, LOST),
        Err(error) => super::off(FEATURE, &format!("{PATH} cannot be read: {error}"), LOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::CapabilityState;

    #[test]
    fn who_hides_them_and_what_is_lost_are_told() {
        let hidden = judge(Ok(false), "somebody hides them");
        assert_eq!(hidden.state, CapabilityState::Off);
        assert!(hidden.because.starts_with("somebody hides them; lost: "), "{}", hidden.because);
        let missing = judge(Err(io::Error::from(io::ErrorKind::NotFound)), "");
        assert!(missing.because.contains("cannot be read"), "{}", missing.because);
        assert_eq!(judge(Ok(true), "").state, CapabilityState::On);
    }
}
