//! Uplinks without Ethernet, as a VPN gives them.

use super::{LookAlike, PLAIN, two_or_more};
use crate::{plan::UplinkKind, seed::Shape};

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "layer3-uplinks",
    summary: "the nodes reach each other by TUN devices of a small MTU, as with a VPN",
    shape: || Shape { uplink: UplinkKind::Tun, uplink_mtu: 1280, ..two_or_more() },
    ..PLAIN
}];
