//! The devices towards the peers, each packet's way counted once.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    Topology,
    roles::{RoleProblem, named},
    signs,
};
use crate::evidence::{Intent, Link, Origin, RouteOutcome, Tables};

/// Masters that hand the packets of their ports on as their own; a VRF, for one, does not.
const AGGREGATES: [&str; 3] = ["bridge", "bond", "team"];
/// Devices that add no header but a tag: their packets pass the lower device as they are.
const STACKED: [&str; 3] = ["vlan", "macvlan", "ipvlan"];
/// More masters above each other than anyone builds; ends a loop that saved tables may hold.
const DEEPEST: usize = 8;

/// The uplinks by option, else by the routes to the peers, else by the tunnel's own address, else
/// by the default route.
pub(super) fn find(
    tables: &Tables,
    intent: &Intent,
    overlays: &[u32],
    bridge: Option<u32>,
) -> Result<Vec<u32>, RoleProblem> {
    if !intent.uplink_options.is_empty() {
        let named = |name: &String| Ok(named(tables, "--uplink", name)?.index);
        return intent.uplink_options.iter().map(named).collect();
    }
    let usable = |index: &u32| {
        !overlays.contains(index)
            && Some(*index) != bridge
            && tables.link(*index).is_some_and(|link| link.name != "lo")
    };
    let whole = |index: u32| whole(tables, index);
    let tunnels = || overlays.iter().filter_map(|index| tables.link(*index)?.vxlan.as_ref());
    let routed: BTreeSet<u32> =
        devices_towards_peers(tables, intent, overlays).map(whole).filter(usable).collect();
    let mut uplinks = routed.clone();
    uplinks.extend(tunnels().filter_map(|tunnel| tunnel.link).map(whole).filter(usable));
    if uplinks.is_empty() {
        let devices = tunnels().filter_map(|tunnel| device_of(tables, tunnel.local?));
        uplinks.extend(devices.map(whole).filter(usable));
    }
    if uplinks.is_empty() {
        let defaults = signs::default_devices(tables);
        uplinks.extend(defaults.iter().map(|link| whole(link.index)).filter(usable));
    }
    Ok(unstacked(tables, &uplinks, &routed))
}

impl<'a> Topology<'a> {
    /// The devices by which the kernel would send to the nodes of the peers; a bond or bridge in
    /// place of its ports.
    #[must_use]
    pub fn peer_devices(&self) -> Vec<&'a Link> {
        let Some(tables) = self.tables else { return Vec::new() };
        let overlay = Vec::from_iter(self.overlay.map(|overlay| overlay.index));
        let devices: BTreeSet<u32> = devices_towards_peers(tables, self.intent, &overlay)
            .map(|index| whole(tables, index))
            .collect();
        let links = devices.into_iter().filter_map(|index| tables.link(index));
        links.filter(|link| link.name != "lo" && !overlay.contains(&link.index)).collect()
    }

    /// The device to which the tunnel is bound (IFLA_VXLAN_LINK), or the bond or bridge of which it
    /// is a port.
    #[must_use]
    pub fn tunnel_device(&self) -> Option<u32> {
        Some(whole(self.tables?, self.overlay?.vxlan.as_ref()?.link?))
    }
}

/// The bond or bridge of which device `index` is a port, or the device itself.
fn whole(tables: &Tables, index: u32) -> u32 {
    let mut index = index;
    for _ in 0..DEEPEST {
        let master = tables.link(index).and_then(|link| tables.link(link.master?));
        match master.filter(|master| is_kind(master, &AGGREGATES)) {
            Some(master) => index = master.index,
            None => break,
        }
    }
    index
}

/// Of a device and another stacked on it only one, since packets pass both: the lower one where
/// peers are routed by it too, and it sees the packets of both; else the upper one.
fn unstacked(tables: &Tables, uplinks: &BTreeSet<u32>, routed: &BTreeSet<u32>) -> Vec<u32> {
    let lower_of = |index: u32| {
        let lower = whole(tables, tables.link(index).and_then(lower)?);
        uplinks.contains(&lower).then_some(lower)
    };
    let is_under_another = |index: u32| uplinks.iter().any(|it| lower_of(*it) == Some(index));
    let is_counted_below =
        |index: u32| lower_of(index).is_some_and(|lower| routed.contains(&lower));
    uplinks
        .iter()
        .copied()
        .filter(|index| {
            let hidden_below = is_under_another(*index) && !routed.contains(index);
            !hidden_below && !is_counted_below(*index)
        })
        .collect()
}

/// The device of this namespace through which a stacked one sends.
fn lower(link: &Link) -> Option<u32> {
    let is_here = is_kind(link, &STACKED) && !link.lower_elsewhere;
    link.lower.filter(|_| is_here)
}

fn is_kind(link: &Link, kinds: &[&str]) -> bool {
    link.kind.as_deref().is_some_and(|kind| kinds.contains(&kind))
}

/// The devices by which the kernel would send to the peers' node addresses.
fn devices_towards_peers(
    tables: &Tables,
    intent: &Intent,
    overlays: &[u32],
) -> impl Iterator<Item = u32> {
    let on_overlay = tables.fdb.iter().filter(|entry| overlays.contains(&entry.ifindex));
    let nodes: BTreeSet<IpAddr> = on_overlay
        .filter_map(|entry| entry.destination)
        .chain(intent.peers.iter().map(|peer| peer.node_ip))
        .collect();
    tables
        .answers
        .iter()
        .filter(move |answer| answer.origin == Origin::Node && nodes.contains(&answer.destination))
        .filter_map(|answer| match &answer.outcome {
            RouteOutcome::Route(route) => Some(&route.next_hops),
            RouteOutcome::Refused(_) => None,
        })
        .flatten()
        .filter_map(|hop| hop.ifindex)
}

fn device_of(tables: &Tables, address: IpAddr) -> Option<u32> {
    tables.addresses.iter().find(|own| own.address == address).map(|own| own.ifindex)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnose::testing::{Pass, Plan, UPLINK, link, observe, tables, via},
        evidence::Evidence,
    };

    const UPPER: u32 = 30;

    /// A node whose tunnel is bound to eth0, with `upper` above or beside it, and the LAN routed by
    /// the devices of `lan`, the first for all peers and the second for one.
    fn uplinks(upper: Link, port: bool, lan: &[u32]) -> Vec<u32> {
        let plan = Plan::of(3, Pass::Tables);
        let mut evidence: Evidence = plan.evidence();
        let tables = tables(&mut evidence);
        let index = upper.index;
        tables.links.push(upper);
        let eth0 = tables.links.iter_mut().find(|link| link.index == UPLINK).unwrap();
        eth0.master = port.then_some(index);
        tables.routes.retain(|route| route.next_hops[0].ifindex != Some(UPLINK));
        tables.routes.push(via("192.168.77.0/24".parse().unwrap(), None, lan[0]));
        if let Some(second) = lan.get(1) {
            tables.routes.push(via(plan.node_ip(plan.hit()).into(), None, *second));
        }
        observe(&mut evidence);
        evidence.roles.uplinks
    }

    fn stacked(kind: &str) -> Link {
        Link { lower: Some(UPLINK), ..link(UPPER, "upper", Some(kind)) }
    }

    #[test]
    fn a_bridge_or_bond_is_taken_as_such_never_its_ports() {
        for kind in ["bridge", "bond", "team"] {
            assert_eq!(uplinks(link(UPPER, "br9", Some(kind)), true, &[UPPER]), [UPPER], "{kind}");
            assert_eq!(uplinks(link(UPPER, "br9", Some(kind)), true, &[UPLINK]), [UPPER], "{kind}");
        }
        assert_eq!(uplinks(link(UPPER, "red", Some("vrf")), true, &[UPLINK]), [UPLINK]);
    }

    #[test]
    fn of_a_device_and_its_vlan_one_is_an_uplink() {
        for kind in STACKED {
            assert_eq!(uplinks(stacked(kind), false, &[UPPER]), [UPPER], "{kind}");
            let both = uplinks(stacked(kind), false, &[UPPER, UPLINK]);
            assert_eq!(both, [UPLINK], "{kind}: some peers by the lower device itself");
        }
    }

    #[test]
    fn a_tunnel_over_a_device_and_an_end_elsewhere_are_uplinks_of_their_own() {
        assert_eq!(uplinks(stacked("gre"), false, &[UPPER, UPLINK]), [UPLINK, UPPER]);
        let elsewhere = Link { lower_elsewhere: true, ..stacked("macvlan") };
        assert_eq!(uplinks(elsewhere, false, &[UPPER, UPLINK]), [UPLINK, UPPER]);
    }
}
