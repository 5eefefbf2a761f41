//! A cluster of one node: neighbours, FDB and routes of the overlay device are all empty.

use super::{LookAlike, PLAIN};
use crate::seed::Shape;

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "single-node",
    summary: "one node alone: all three tables are empty",
    shape: || Shape { nodes: Some(1), ..Shape::default() },
    ..PLAIN
}];
