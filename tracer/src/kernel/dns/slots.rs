//! The slots in which queries wait, as memory: a look-up for each would be 16,384 system calls.

use std::{num::NonZeroUsize, ptr::NonNull};

use anyhow::{Context as _, Result, bail};
use aya::{Ebpf, maps::Map};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use tracer_common::{
    dns::{DnsSlot, SLOTS},
    names,
};

/// Bytes of the array: its elements lie side by side, because their size is a multiple of eight.
const LENGTH: NonZeroUsize = NonZeroUsize::new(SLOTS as usize * size_of::<DnsSlot>()).unwrap();

/// The array, mapped until it is dropped.
pub(super) struct Slots(NonNull<DnsSlot>);

// === impl Slots ===

impl Slots {
    /// Maps the array of the object.
    ///
    /// # Errors
    /// When it is missing, or the kernel does not map it.
    pub(super) fn of(ebpf: &Ebpf) -> Result<Self> {
        let map = ebpf.map(names::DNS_SLOTS).context("the object has no slots of DNS")?;
        let Map::Array(array) = map else { bail!("the slots of DNS are no array") };
        let (reads, shared) = (ProtFlags::PROT_READ, MapFlags::MAP_SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice changes nothing that is mapped.
        let start = unsafe { mmap(None, LENGTH, reads, shared, array.fd(), 0) };
        Ok(Self(start.context("mapping the slots of DNS")?.cast()))
    }

    /// A copy of each. One that a program writes to meanwhile may be half of this and half of that
    /// query, as a look-up's copy may be.
    pub(super) fn iter(&self) -> impl Iterator<Item = DnsSlot> {
        (0..SLOTS as usize).map(|index| {
            // SAFETY: the mapping holds `SLOTS` elements.
            let slot = unsafe { self.0.add(index) };
            // SAFETY: they begin with a page and live as long as `self`. The kernel writes to them at
            // any time, hence volatile; every bit pattern is a slot.
            unsafe { slot.read_volatile() }
        })
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and what `iter` gave are copies.
        let unmapped = unsafe { munmap(self.0.cast(), LENGTH.get()) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}
