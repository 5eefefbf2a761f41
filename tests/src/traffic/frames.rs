//! Frames that are sent as they are, whatever is wrong with them.

use anyhow::Result;

use super::{
    Counts, Limits, Stop,
    pace::{Outcome, paced},
};
use crate::inject::Injector;

/// Nothing is known of what becomes of them.
pub(super) fn send(device: &str, frame: &[u8], limits: Limits, stop: &Stop) -> Result<Counts> {
    let injector = Injector::open(device)?;
    paced(limits, stop, |_| {
        Ok(match injector.send(frame) {
            Ok(()) => Outcome::Silence,
            Err(_) => Outcome::Error,
        })
    })
}
