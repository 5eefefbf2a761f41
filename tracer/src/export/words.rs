//! Words that several exporters print.

use std::collections::BTreeSet;

use crate::evidence::{Evidence, Link, Platform};

/// How many entries an array of an output holds at most.
pub(super) const MOST_ENTRIES: usize = 100;

/// A device and the part it plays.
pub struct RoleLink<'a> {
    /// `overlay`, `bridge`, `uplink` or `vip`.
    pub role: &'static str,
    /// The device.
    pub link: &'a Link,
}

/// The devices with a role: overlays, bridge, uplinks, and others on which VIPs are.
#[must_use]
pub fn role_links(evidence: &Evidence) -> Vec<RoleLink<'_>> {
    let Some(tables) = &evidence.tables else { return Vec::new() };
    let overlays = evidence.roles.overlays().map(|index| ("overlay", index));
    let bridge = evidence.roles.bridge.map(|index| ("bridge", index));
    let uplinks = || evidence.roles.uplinks.iter().copied();
    let hooks = evidence.vips.iter().flat_map(|vips| &vips.hooks).map(|hook| hook.ifindex);
    // An uplink with VIPs on it is told once.
    let others: BTreeSet<u32> = hooks.filter(|it| !uplinks().any(|index| index == *it)).collect();
    overlays
        .chain(bridge)
        .chain(uplinks().map(|index| ("uplink", index)))
        .chain(others.into_iter().map(|index| ("vip", index)))
        .filter_map(|(role, index)| Some(RoleLink { role, link: tables.link(index)? }))
        .collect()
}

/// The platform in words.
pub(super) const fn platform(platform: Platform) -> Option<&'static str> {
    match platform {
        Platform::K3sServer => Some("k3s server"),
        Platform::K3sAgent => Some("k3s agent"),
        Platform::Rke2Server => Some("RKE2 server"),
        Platform::Rke2Agent => Some("RKE2 agent"),
        Platform::Talos => Some("Talos"),
        Platform::Kubeadm => Some("kubeadm"),
        Platform::Unknown => None,
    }
}

/// An IP protocol's name, else its number.
pub(crate) fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        132 => "sctp".to_owned(),
        other => other.to_string(),
    }
}
