//! What the kernel drops, beside what the stages count: whatever goes wrong here is told, and
//! everything else goes on.

use tracer::{
    evidence::{Capability, Drops, Evidence, Roles, Tables},
    kernel::{
        DropError, DropOptions, DropReading, DropSession, DropVariant, Plan, drop_capabilities,
    },
    observe::{DropObservation, drops},
};

/// The drop program, or why there is none.
pub(super) struct Dropping {
    session: Result<DropSession, DropError>,
}

impl Dropping {
    /// Begins to count what a node of this plan drops.
    pub(super) fn start(plan: &Plan) -> Self {
        Self { session: DropSession::start(&DropOptions::of(&plan.config)) }
    }

    /// Without having tried.
    pub(super) fn not_started(because: &str) -> Self {
        Self { session: Err(DropError::Other(anyhow::anyhow!(because.to_owned()))) }
    }

    /// Whether drops are counted.
    pub(super) const fn is_on(&self) -> bool {
        self.session.is_ok()
    }

    /// Whether the program was told what this plan says of the node.
    pub(super) fn fits(&self, plan: &Plan) -> bool {
        self.session.as_ref().is_ok_and(|session| *session.config() == plan.config)
    }

    /// Goes on with the names of functions that `last` has.
    pub(super) fn take_names_of(&mut self, last: Self) {
        if let (Ok(session), Ok(last)) = (&mut self.session, last.session) {
            session.take_names_of(last);
        }
    }

    /// What was dropped since the start; `None` when that is not known, now or ever.
    pub(super) fn read(&mut self) -> Option<DropReading> {
        let read = self.session.as_mut().ok()?.read();
        read.map_err(|error| {
            tracing::warn!("drops are not read any more: {error:#}");
            self.session = Err(DropError::Other(error));
        })
        .ok()
    }

    /// The lines of `capabilities` that are about drops.
    pub(super) fn capabilities(&self) -> Vec<Capability> {
        drop_capabilities(self.session.as_ref())
    }

    /// What was dropped between the first of these readings and the last.
    pub(super) fn between(
        &self,
        readings: &[DropReading; 3],
        overlays: &[String],
    ) -> Option<Drops> {
        let session = self.session.as_ref().ok()?;
        let [start, middle, end] = readings;
        Some(drops(DropObservation {
            start,
            middle,
            end,
            headers_read: session.variant() == DropVariant::Packets,
            has_reasons: session.has_reasons(),
            overlays,
        }))
    }

    /// Says what cannot be seen of drops.
    pub(super) fn tell_unseen(&self, unseen: &mut Vec<String>) {
        unseen.extend(self.unseen());
    }

    /// What cannot be seen of drops.
    pub(super) fn unseen(&self) -> Vec<String> {
        let line = match &self.session {
            Ok(session) => session.because().map(|it| format!("flows of dropped packets: {it}")),
            Err(error) => Some(format!("drops: {error:#}")),
        };
        line.into_iter().collect()
    }
}

/// The names of flannel's devices.
pub(super) fn overlays(tables: Option<&Tables>, roles: &Roles) -> Vec<String> {
    let name = |index| Some(tables?.link(index)?.name.clone());
    roles.overlays().filter_map(name).collect()
}

/// The same of an evidence.
pub(super) fn overlays_of(evidence: &Evidence) -> Vec<String> {
    overlays(evidence.tables.as_ref(), &evidence.roles)
}
