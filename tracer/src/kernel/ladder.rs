//! What this kernel offers with these privileges, feature by feature: a file a rung. Each rung
//! tries one thing and says how it went; none can fail, so that none stops the others.

mod btf;
mod changes;
mod drops;
mod memory;
mod modules;
mod privileges;
mod processes;
mod ring_buffer;
mod stages;
mod symbols;

use super::{Plan, StartError};
use crate::evidence::{Capability, CapabilityState, Hook};

/// Tries every feature, without looking at any device but the loopback. The order is that of the
/// answer: what the verdicts hang on first.
#[must_use]
pub fn probe(plan: &Plan) -> Vec<Capability> {
    let mut rungs = stages::probe(plan);
    rungs.extend([memory::rung(), ring_buffer::rung(), btf::rung(), modules::rung()]);
    rungs.extend(drops::probe());
    rungs.extend([changes::rung(), symbols::rung(), processes::rung(), privileges::rung()]);
    rungs
}

/// What a session that was started, or could not be, says of the tracer's features, and what
/// can be told without loading anything more. `drops` are the lines of the drop program
/// ([`super::drop_capabilities`]).
#[must_use]
pub fn capabilities(
    session: Result<&[Hook], &StartError>,
    drops: Vec<Capability>,
) -> Vec<Capability> {
    capabilities_beside(session, drops, &Standing::read())
}

/// What of [`capabilities`] is the same for long: reading it means to read every process.
#[derive(Debug, Clone)]
pub struct Standing([Capability; 5]);

/// [`capabilities`], with what stands read before.
#[must_use]
pub fn capabilities_beside(
    session: Result<&[Hook], &StartError>,
    drops: Vec<Capability>,
    standing: &Standing,
) -> Vec<Capability> {
    let [memory, btf, symbols, processes, privileges] = standing.0.clone();
    let mut rungs = vec![stages::of_session(session), memory, btf];
    rungs.extend(drops);
    rungs.extend([symbols, processes, privileges]);
    rungs
}

// === impl Standing ===

impl Standing {
    /// Reads it.
    #[must_use]
    pub fn read() -> Self {
        Self([memory::rung(), btf::rung(), symbols::rung(), processes::rung(), privileges::rung()])
    }
}

/// A feature that works.
fn on(feature: &str, because: impl Into<String>) -> Capability {
    capability(feature, CapabilityState::On, because.into())
}

/// A feature that works in part.
fn degraded(feature: &str, because: &str, lost: &str) -> Capability {
    capability(feature, CapabilityState::Degraded, format!("{because}; lost: {lost}"))
}

/// A feature that does not work.
fn off(feature: &str, because: &str, lost: &str) -> Capability {
    capability(feature, CapabilityState::Off, format!("{because}; lost: {lost}"))
}

fn capability(feature: &str, state: CapabilityState, because: String) -> Capability {
    Capability { feature: feature.to_owned(), state, because }
}
