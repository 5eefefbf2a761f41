//! What the kernel counts and how it is set, as netlink tells it: absolute, at one moment.

mod conntrack;
mod device;
mod neighbour_table;
mod queue;
mod reverse_path;

use std::collections::BTreeMap;

pub use self::{
    conntrack::conntrack,
    device::{Devices, devices},
    neighbour_table::neighbour_tables,
    queue::queues,
    reverse_path::reverse_path_filters,
};

/// Device names by device number.
pub type Names = BTreeMap<u32, String>;

/// The number of eight bytes at the place `index` of a row of such numbers; an older kernel's row
/// is shorter, and what it lacks it does not count.
fn number_at(row: &[u8], index: usize) -> u64 {
    let bytes = row.get(8 * index..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// The number of four bytes at `offset`.
fn short_number_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
mod testing {
    /// Numbers of eight bytes in a row, each its place.
    pub(super) fn row(length: u64) -> Vec<u8> {
        (0..length).flat_map(u64::to_ne_bytes).collect()
    }
}
