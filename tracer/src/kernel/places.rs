//! Where programs are attached, and how that follows the node.

use aya::{Ebpf, programs::SchedClassifier};

use super::{
    AttachMode, PlannedHook,
    attach::{Attacher, Attachment},
};
use crate::evidence::Hook;

/// The hooks of one object's programs. To be dropped before the object: first nothing calls the programs
/// any more, then they go.
pub(super) struct Places {
    places: Vec<Place>,
    attacher: Attacher,
}

/// A hook of the plan, and what was attached there.
struct Place {
    planned: PlannedHook,
    attachment: Option<Attachment>,
    hook: Hook,
}

// === impl Places ===

impl Places {
    /// No hooks yet.
    pub(super) const fn new(mode: AttachMode) -> Self {
        Self { places: Vec::new(), attacher: Attacher::new(mode) }
    }

    /// Detaches from what is no longer planned, and attaches to what is new or was refused before, by
    /// the programs that `program` gives. A hook that cannot be attached is no error: [`Places::hooks`]
    /// says why. True when programs are attached elsewhere than before.
    pub(super) fn follow<E>(
        &mut self,
        hooks: &[PlannedHook],
        ebpf: &mut Ebpf,
        program: impl for<'a> Fn(&'a mut Ebpf, &'static str) -> Result<&'a mut SchedClassifier, E>,
    ) -> Result<bool, E> {
        let mut changed = false;
        let mut before = std::mem::take(&mut self.places);
        for planned in hooks {
            let same = |it: &Place| it.planned.is_same_place(planned) && it.attachment.is_some();
            let place = match before.iter().position(same) {
                Some(index) => before.swap_remove(index).renamed(planned),
                None => {
                    let place = self.attach(planned, program(ebpf, planned.program)?);
                    changed |= place.attachment.is_some();
                    place
                }
            };
            self.places.push(place);
        }
        Ok(changed || before.iter().any(|place| place.attachment.is_some()))
    }

    fn attach(&mut self, planned: &PlannedHook, program: &mut SchedClassifier) -> Place {
        let attached = self.attacher.attach(program, planned);
        let (because, foreign) = match &attached {
            Ok(attachment) => (attachment.kind().to_owned(), attachment.foreign.clone()),
            Err(error) => (format!("{error:#}"), Vec::new()),
        };
        let hook = Hook {
            interface: planned.interface.clone(),
            ifindex: planned.ifindex,
            direction: planned.direction,
            attached: attached.is_ok(),
            because,
            foreign,
        };
        Place { planned: planned.clone(), attachment: attached.ok(), hook }
    }

    /// Detaches everything.
    pub(super) fn clear(&mut self) {
        self.places.clear();
    }

    /// Where programs were to be attached.
    pub(super) fn planned(&self) -> impl Iterator<Item = &PlannedHook> {
        self.places.iter().map(|place| &place.planned)
    }

    /// The same, and whether they are.
    pub(super) fn hooks(&self) -> Vec<Hook> {
        self.places.iter().map(|place| place.hook.clone()).collect()
    }
}

// === impl Place ===

impl Place {
    /// The same place under the name that its device has now.
    fn renamed(mut self, planned: &PlannedHook) -> Self {
        self.hook.interface.clone_from(&planned.interface);
        self.planned = planned.clone();
        self
    }
}
