//! Devices towards the peers for which full packets of the overlay device are too large once they are
//! encapsulated.

use std::{collections::BTreeMap, net::IpAddr};

use super::case::Case;
use crate::{
    evidence::{DontFragment, Family, Link},
    topology::Peer,
};

/// A device that is too small, and how many bytes of inner packet it has room for.
pub(super) struct Narrow<'a> {
    pub(super) link: &'a Link,
    pub(super) mtu: u32,
    pub(super) room: u32,
    pub(super) peers: Vec<&'a Peer<'a>>,
}

impl Narrow<'_> {
    /// What shows that it is too small for full packets of `overlay`.
    pub(super) fn told(&self, case: &Case<'_>, overlay: &Link) -> String {
        format!(
            "{}, the kernel's way to {} of {} peers, has MTU {}: encapsulated, a packet of at most {} \
             fits; {} has MTU {}",
            self.link.name,
            self.peers.len(),
            case.topology.peers.len(),
            self.mtu_in_words(),
            self.room,
            overlay.name,
            overlay.mtu
        )
    }

    /// A router's announcement or a setting lowers the MTU of IPv6 alone.
    fn mtu_in_words(&self) -> String {
        if self.mtu == self.link.mtu {
            return self.mtu.to_string();
        }
        let setting = format!("net/ipv6/conf/{}/mtu", self.link.name);
        format!("{} for IPv6 (`sysctl {setting}`; {} else)", self.mtu, self.link.mtu)
    }

    /// The command that gives the device a larger MTU.
    pub(super) fn raise_to(&self, mtu: u32) -> String {
        let name = &self.link.name;
        if self.mtu == self.link.mtu {
            return format!("ip link set {name} mtu {mtu}");
        }
        format!("sysctl -w net/ipv6/conf/{name}/mtu={mtu}")
    }
}

/// What becomes of packets that are too large.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TooLarge {
    /// They are sent in fragments, or, by IPv6, refused in words that the sender gets.
    Fragments,
    /// They may not be, and are dropped.
    Drops,
}

/// The devices on whose way this becomes of full packets, the smallest first.
pub(super) fn narrow<'a>(case: &'a Case<'a>, fate: TooLarge) -> Vec<Narrow<'a>> {
    let Some((tables, _)) = case.working_overlay() else { return Vec::new() };
    let mut found = BTreeMap::<(u32, u32), Narrow<'a>>::new();
    for peer in case.topology.peers.iter().filter(|peer| peer.direct.is_none()) {
        let Some((node_ip, link)) = peer.way(tables) else { continue };
        let mtu = link.mtu_of(Family::of(node_ip));
        let Some((room, _)) = fate_to(case, peer).filter(|(_, it)| *it == fate) else { continue };
        let narrow = found.entry((room, link.index));
        narrow.or_insert(Narrow { link, mtu, room, peers: Vec::new() }).peers.push(peer);
    }
    found.into_values().collect()
}

/// The largest packet that fits into the device towards a peer once it is encapsulated, and what becomes
/// of larger ones; `None` where full packets fit.
pub(super) fn fate_to(case: &Case<'_>, peer: &Peer<'_>) -> Option<(u32, TooLarge)> {
    let (tables, overlay) = case.working_overlay()?;
    let (room, node_ip) = peer.room(tables).zip(peer.node_ip)?;
    (overlay.mtu > room).then(|| (room, fate_of(overlay, node_ip)))
}

/// IFLA_VXLAN_DF concerns outer packets of IPv4 alone (drivers/net/vxlan/vxlan_core.c,
/// vxlan_xmit_one, Linux 5.10 to 6.18).
fn fate_of(overlay: &Link, node_ip: IpAddr) -> TooLarge {
    let df = overlay.vxlan.as_ref().map(|vxlan| vxlan.df).unwrap_or_default();
    if df == DontFragment::Unset || node_ip.is_ipv6() {
        TooLarge::Fragments
    } else {
        TooLarge::Drops
    }
}
