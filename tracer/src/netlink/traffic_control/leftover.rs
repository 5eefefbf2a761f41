//! Whose a filter is, and what the dead left behind.
//!
//! ```text
//! handle  0x464c_0M0S   M: 1 when the tracer made the qdisc   S: slot, 0 to 15
//! ```
//!
//! A living tracer holds its slot by its name, see [`hold`]. A filter whose slot nobody holds is
//! therefore a dead tracer's.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    num::NonZeroU32,
    os::unix::net::UnixDatagram,
};

use anyhow::bail;

use super::{
    filter::{FILTER_NAME, Filter, delete_filter, list_filters},
    name::hold,
    qdisc::{clsact_devices, delete_clsact_if_empty},
    turn::Turn,
};
use crate::evidence::HookDirection;

/// Both sides of a device.
pub(super) const DIRECTIONS: [HookDirection; 2] = [HookDirection::Ingress, HookDirection::Egress];

/// "FL": a number that no other tool gives out by counting.
const BASE: NonZeroU32 = NonZeroU32::new(0x464c_0000).expect("not zero");
const MADE_QDISC: u32 = 0x100;
const SLOTS: u32 = 16;

/// The right to use one set of handles in this network namespace, until dropped.
#[derive(Debug)]
pub struct Slot {
    number: u32,
    _held: UnixDatagram,
}

/// A filter that a dead tracer had left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The device.
    pub ifindex: u32,
    /// The side it was on.
    pub direction: HookDirection,
    /// What it was.
    pub filter: Filter,
    /// Whether the device's clsact qdisc, which a tracer had made, went with it.
    pub qdisc_deleted: bool,
}

/// What the handle of a tracer's filter says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    slot: u32,
    pub(super) made_qdisc: bool,
}

impl Slot {
    /// Takes the first free slot of this thread's network namespace.
    ///
    /// # Errors
    /// When all are taken, or no socket can be made.
    pub fn claim() -> anyhow::Result<Self> {
        for number in 0..SLOTS {
            if let Some(slot) = Self::claim_number(number)? {
                return Ok(slot);
            }
        }
        bail!("{SLOTS} tracers already run in this network namespace; stop one of them")
    }

    /// The handle for filters on a device whose clsact qdisc the tracer made, or found there.
    #[must_use]
    pub const fn handle(&self, made_qdisc: bool) -> NonZeroU32 {
        Owner { slot: self.number, made_qdisc }.handle()
    }

    fn claim_number(number: u32) -> anyhow::Result<Option<Self>> {
        Ok(hold(&number.to_string())?.map(|held| Self { number, _held: held }))
    }
}

impl Owner {
    /// The owner of a filter, if that is a tracer.
    pub(super) fn of(filter: &Filter) -> Option<Self> {
        let bits = filter.handle.get() ^ BASE.get();
        let owner = Self { slot: bits & (SLOTS - 1), made_qdisc: bits & MADE_QDISC != 0 };
        let is_tracer =
            filter.name.as_deref() == Some(FILTER_NAME) && owner.handle() == filter.handle;
        is_tracer.then_some(owner)
    }

    const fn handle(self) -> NonZeroU32 {
        let made = if self.made_qdisc { MADE_QDISC } else { 0 };
        BASE.saturating_add(made | self.slot)
    }
}

/// Removes the filters that dead tracers left on any device of this network namespace, and a
/// clsact qdisc that a tracer had made and that is empty then. To be called before
/// [`Slot::claim`]: what is in a slot that is held counts as alive.
///
/// # Errors
/// When netlink cannot be used or a filter cannot be deleted.
pub fn remove_leftovers() -> anyhow::Result<Vec<Removed>> {
    if clsact_devices()?.is_empty() {
        return Ok(Vec::new());
    }
    let _turn = Turn::take()?;
    let mut removed = Vec::new();
    let mut dead = Dead::default();
    for ifindex in clsact_devices()? {
        removed.extend(remove_from(ifindex, &mut dead)?);
    }
    Ok(removed)
}

/// The slots whose owner is dead. They are held meanwhile, so that no tracer that just starts
/// uses handles that are about to be deleted.
#[derive(Default)]
struct Dead {
    held: BTreeMap<u32, Option<Slot>>,
}

impl Dead {
    fn contains(&mut self, number: u32) -> anyhow::Result<bool> {
        let slot = match self.held.entry(number) {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(place) => place.insert(Slot::claim_number(number)?),
        };
        Ok(slot.is_some())
    }
}

fn remove_from(ifindex: u32, dead: &mut Dead) -> anyhow::Result<Vec<Removed>> {
    let mut removed = Vec::new();
    let mut made_qdisc = false;
    for direction in DIRECTIONS {
        for filter in list_filters(ifindex, direction)? {
            let Some(owner) = Owner::of(&filter) else { continue };
            if dead.contains(owner.slot)? {
                delete_filter(ifindex, direction, filter.priority, filter.handle)?;
                made_qdisc |= owner.made_qdisc;
                removed.push(Removed { ifindex, direction, filter, qdisc_deleted: false });
            }
        }
    }
    if made_qdisc && delete_clsact_if_empty(ifindex)? {
        removed.iter_mut().for_each(|removed| removed.qdisc_deleted = true);
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(handle: u32, name: &str) -> Filter {
        Filter {
            priority: 1,
            handle: NonZeroU32::new(handle).unwrap(),
            kind: "bpf".to_owned(),
            name: Some(name.to_owned()),
            protocol: 3,
            prog_id: None,
        }
    }

    #[test]
    fn a_handle_says_whose_filter_it_is() {
        for slot in 0..SLOTS {
            for made_qdisc in [false, true] {
                let owner = Owner { slot, made_qdisc };
                let filter = filter(owner.handle().get(), FILTER_NAME);
                assert_eq!(Owner::of(&filter), Some(owner));
            }
        }
    }

    #[test]
    fn filters_of_others_have_no_owner() {
        assert_eq!(Owner::of(&filter(0x464c_0001, "cil_from_netdev")), None);
        assert_eq!(Owner::of(&filter(1, FILTER_NAME)), None);
        assert_eq!(Owner::of(&filter(0x464c_0011, FILTER_NAME)), None);
        assert_eq!(Owner::of(&filter(0x464c_0201, FILTER_NAME)), None);
    }
}
