//! Attaching a program to one side of a device: by TCX where the kernel has it (6.6), else by a
//! clsact filter. Our programs come first at ingress and last at egress, so that they see what
//! the device sees.

use std::os::fd::AsFd as _;

use anyhow::Context as _;
use aya::programs::{
    LinkOrder, SchedClassifier, TcAttachType,
    tc::{SchedClassifierLink, TcAttachOptions},
};

use super::{PlannedHook, foreign};
use crate::{
    evidence::HookDirection,
    netlink::traffic_control::{ClsactFilter, Slot},
};

/// What whoever asked for TCX alone has to know when it does not work.
const NO_TCX: &str = "TCX came with Linux 6.6; --attach auto takes clsact where it is missing";

/// How programs are attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum AttachMode {
    /// TCX, and clsact where the kernel has no TCX.
    Auto,
    /// TCX only: needs Linux 6.6.
    Tcx,
    /// clsact filters only.
    Clsact,
}

/// An attached program; dropping it detaches it.
pub(super) struct Attachment {
    way: Way,
    /// Programs of others that run before it, by short names.
    pub(super) foreign: Vec<String>,
}

enum Way {
    Tcx(#[expect(dead_code, reason = "held for its drop, which detaches")] SchedClassifierLink),
    Clsact(#[expect(dead_code, reason = "held for its drop, which detaches")] ClsactFilter),
}

/// Attaches programs of one session; holds the session's clsact slot once it has needed one.
pub(super) struct Attacher {
    mode: AttachMode,
    slot: Option<Slot>,
}

impl Attachment {
    /// The word for evidence and reports.
    pub(super) const fn kind(&self) -> &'static str {
        match self.way {
            Way::Tcx(_) => "tcx",
            Way::Clsact(_) => "clsact",
        }
    }
}

impl Attacher {
    pub(super) const fn new(mode: AttachMode) -> Self {
        Self { mode, slot: None }
    }

    /// Attaches `program` at `hook`.
    pub(super) fn attach(
        &mut self,
        program: &mut SchedClassifier,
        hook: &PlannedHook,
    ) -> anyhow::Result<Attachment> {
        match self.mode {
            AttachMode::Tcx => tcx(program, hook).context(NO_TCX),
            AttachMode::Clsact => self.clsact(program, hook),
            AttachMode::Auto => match tcx(program, hook) {
                Ok(attachment) => Ok(attachment),
                Err(error) => {
                    tracing::debug!("no TCX on {}: {error:#}; using clsact", hook.interface);
                    self.clsact(program, hook)
                }
            },
        }
    }

    fn clsact(
        &mut self,
        program: &SchedClassifier,
        hook: &PlannedHook,
    ) -> anyhow::Result<Attachment> {
        let slot = match &mut self.slot {
            Some(slot) => slot,
            free => free.insert(Slot::claim()?),
        };
        let fd = program.fd().context("the program is not loaded")?;
        let foreign = foreign::before_clsact(hook);
        let filter = ClsactFilter::attach(hook.ifindex, hook.direction, fd.as_fd(), slot)
            .with_context(|| format!("attaching a clsact filter to {}", hook.interface))?;
        Ok(Attachment { way: Way::Clsact(filter), foreign })
    }
}

fn tcx(program: &mut SchedClassifier, hook: &PlannedHook) -> anyhow::Result<Attachment> {
    let (side, order) = match hook.direction {
        HookDirection::Ingress => (TcAttachType::Ingress, LinkOrder::first()),
        HookDirection::Egress => (TcAttachType::Egress, LinkOrder::last()),
    };
    let foreign = foreign::before_tcx(hook);
    let id = program
        .attach_with_options(&hook.interface, side, TcAttachOptions::TcxOrder(order))
        .with_context(|| format!("attaching to {} by TCX", hook.interface))?;
    Ok(Attachment { way: Way::Tcx(program.take_link(id)?), foreign })
}
