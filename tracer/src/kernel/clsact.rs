//! A clsact filter that goes when it is dropped. Unlike a TCX link it outlives a killed process;
//! the next start and `cleanup` remove it then.

use std::{num::NonZeroU32, os::fd::BorrowedFd};

use anyhow::Result;

use crate::{
    evidence::HookDirection,
    netlink::traffic_control::{
        FILTER_NAME, Slot, add_filter, delete_clsact_if_empty, delete_filter, ensure_clsact,
        priority,
    },
};

/// One of our filters on one side of a device.
pub(super) struct ClsactFilter {
    ifindex: u32,
    direction: HookDirection,
    handle: NonZeroU32,
    made_qdisc: bool,
}

impl ClsactFilter {
    /// Adds a direct-action filter for `program`, and the clsact qdisc where there is none. The
    /// filter's handle carries the slot of its owner and whether the qdisc is ours.
    pub(super) fn attach(
        ifindex: u32,
        direction: HookDirection,
        program: BorrowedFd<'_>,
        slot: &Slot,
    ) -> Result<Self> {
        let made_qdisc = ensure_clsact(ifindex)?;
        let handle = slot.handle(made_qdisc);
        let filter = Self { ifindex, direction, handle, made_qdisc };
        add_filter(ifindex, direction, program, FILTER_NAME, priority(direction), handle)?;
        Ok(filter)
    }
}

impl Drop for ClsactFilter {
    fn drop(&mut self) {
        let Self { ifindex, direction, handle, made_qdisc } = *self;
        // The device may be gone, and its filters with it: nothing is left then.
        if let Err(error) = delete_filter(ifindex, direction, priority(direction), handle) {
            tracing::debug!("removing the filter of device {ifindex}: {error:#}");
        }
        if made_qdisc && let Err(error) = delete_clsact_if_empty(ifindex) {
            tracing::debug!("removing the clsact qdisc of device {ifindex}: {error:#}");
        }
    }
}
