//! Uplinks, tunnel and pods with jumbo frames.

use super::{LookAlike, PLAIN};
use crate::seed::Shape;

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "jumbo-uplink",
    summary: "uplinks of MTU 9000, pods of 8950",
    shape: || Shape { min_nodes: 2, uplink_mtu: 9000, ..Shape::default() },
    ..PLAIN
}];
