//! A program on one side of a device by clsact, until dropped.

use std::{num::NonZeroU32, os::fd::BorrowedFd};

use super::{
    filter::{FILTER_NAME, add_filter, delete_filter, priority},
    leftover::Slot,
    qdisc::{delete_clsact_if_empty, ensure_clsact},
    turn::Turn,
};
use crate::evidence::HookDirection;

/// An attached filter. Dropping it, in the network namespace in which it was attached, detaches
/// the program, and deletes the clsact qdisc if a tracer had made it and it is empty then.
///
/// Keep the [`Slot`] until after that: who has none counts as dead.
#[derive(Debug)]
pub struct ClsactFilter {
    ifindex: u32,
    direction: HookDirection,
    handle: NonZeroU32,
    made_qdisc: bool,
}

impl ClsactFilter {
    /// Attaches a program to one side of a device. A slot has one filter on each side.
    ///
    /// # Errors
    /// When the kernel refuses, see [`ensure_clsact`] and [`add_filter`], or another tracer keeps
    /// its turn; nothing is left then.
    pub fn attach(
        ifindex: u32,
        direction: HookDirection,
        program: BorrowedFd<'_>,
        slot: &Slot,
    ) -> anyhow::Result<Self> {
        let _turn = Turn::take()?;
        let made_qdisc = ensure_clsact(ifindex)?;
        let handle = slot.handle(made_qdisc);
        let added =
            add_filter(ifindex, direction, program, FILTER_NAME, priority(direction), handle);
        if let Err(error) = added {
            if made_qdisc {
                delete_clsact_if_empty(ifindex)?;
            }
            return Err(error);
        }
        Ok(Self { ifindex, direction, handle, made_qdisc })
    }

    fn detach(&self) -> anyhow::Result<()> {
        // From a filter that says so others know whose the qdisc is. Without a turn it goes all the same;
        // only an empty qdisc may be left.
        let turn = self.made_qdisc.then(Turn::take).transpose();
        delete_filter(self.ifindex, self.direction, priority(self.direction), self.handle)?;
        if let Some(_turn) = turn? {
            delete_clsact_if_empty(self.ifindex)?;
        }
        Ok(())
    }
}

impl Drop for ClsactFilter {
    fn drop(&mut self) {
        if let Err(error) = self.detach() {
            tracing::warn!("{error:#}; 'flannel-tracer cleanup' removes what is left");
        }
    }
}
