//! Which device is the overlay, the bridge, an uplink.

use ipnet::IpNet;

use super::{cidrs, overlay, signs, uplinks};
use crate::evidence::{Address, Family, Intent, Link, Roles, SubnetEnv, Tables, Vxlan};

/// VXLAN devices of other network plugins, which look like flannel's but for the name.
const FOREIGN_OVERLAYS: [&str; 3] = ["vxlan.calico", "vxlan-v6.calico", "cilium_vxlan"];
/// The names that CNI plugins give the bridge: flannel's, kubenet's, kube-router's.
const BRIDGES: [&str; 3] = ["cni0", "cbr0", "kube-bridge"];
/// The name of the IPv6 twin of flannel's device begins so.
const IPV6_TWIN_PREFIX: &str = "flannel-v6";

/// Whether a VXLAN device may be flannel's.
type Criterion<'a> = dyn Fn(&Link, &Vxlan) -> bool + 'a;

/// Why the roles of the devices cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleProblem {
    /// An option names a device that is not there.
    #[error("{option} {name}: no such interface; this node has {}", .known.join(", "))]
    UnknownInterface {
        /// The option, with its dashes.
        option: &'static str,
        /// The name given.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// `--overlay` names a device of another kind.
    #[error(
        "--overlay {name}: this is no VXLAN device but {kind}; `ip -d link show type vxlan` lists \
         the VXLAN devices"
    )]
    NotVxlan {
        /// The name given.
        name: String,
        /// The kind it has.
        kind: String,
    },
    /// `--bridge` names a device of another kind.
    #[error(
        "--bridge {name}: this is no bridge but {kind}; `ip link show type bridge` lists the bridges"
    )]
    NotBridge {
        /// The name given.
        name: String,
        /// The kind it has.
        kind: String,
    },
    /// Several VXLAN devices could be flannel's.
    #[error("several VXLAN devices could be flannel's: {}; choose one with --overlay", .0.join(", "))]
    SeveralOverlays(Vec<String>),
    /// flannel runs here, but not with VXLAN.
    #[error(
        "flannel uses its {0} backend on this node, which has no VXLAN device; only the VXLAN \
         backend is traced"
    )]
    OtherBackend(&'static str),
    /// Nothing shows that this is a flannel node.
    #[error(
        "no VXLAN device and no sign of flannel on this node (no subnet.env, no FLANNEL chains or \
         tables); if it is a flannel node, name its device with --overlay"
    )]
    NoFlannel,
}

impl RoleProblem {
    /// Whether it may pass when flannel starts: for a daemon to wait.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::NoFlannel | Self::OtherBackend(_))
    }

    /// Exit status of a command that ends with this problem: 3 for wrong usage, 2 for a node
    /// that cannot be observed.
    #[must_use]
    pub const fn exit_status(&self) -> u8 {
        match self {
            Self::UnknownInterface { .. } | Self::NotVxlan { .. } | Self::NotBridge { .. } => 3,
            Self::SeveralOverlays(_) | Self::OtherBackend(_) | Self::NoFlannel => 2,
        }
    }
}

/// Tells the roles. Without an overlay device the result is still `Ok` when something shows that
/// this is a flannel node: then the device is missing, which is for a rule to say.
pub fn detect_roles(tables: &Tables, intent: &Intent) -> Result<Roles, RoleProblem> {
    require_vxlan(tables, intent)?;
    let overlay = find_overlay(tables, intent, Family::V4)?;
    let overlay6 = find_overlay(tables, intent, Family::V6)?;
    let overlays: Vec<u32> = overlay.into_iter().chain(overlay6).collect();
    if overlays.is_empty() {
        require_flannel(tables, intent)?;
    }
    let bridge = find_bridge(tables, intent, &overlays)?;
    let uplinks = uplinks::find(tables, intent, &overlays, bridge)?;
    Ok(Roles { overlay, overlay6, bridge, uplinks })
}

/// The device that `--overlay` names is a VXLAN device, or there is none of flannel's name: then the
/// option says which one is missing.
fn require_vxlan(tables: &Tables, intent: &Intent) -> Result<(), RoleProblem> {
    let Some(name) = &intent.overlay_option else { return Ok(()) };
    let has_flannels = || {
        let mut candidates =
            Family::ALL.into_iter().flat_map(|family| candidates(tables, intent, family));
        candidates.any(|link| link.name.starts_with("flannel"))
    };
    match tables.link_named(name) {
        Some(link) if link.vxlan.is_none() => {
            Err(RoleProblem::NotVxlan { name: name.clone(), kind: kind_of(link) })
        }
        None if has_flannels() => Err(unknown(tables, "--overlay", name)),
        _ => Ok(()),
    }
}

fn find_overlay(
    tables: &Tables,
    intent: &Intent,
    family: Family,
) -> Result<Option<u32>, RoleProblem> {
    if let Some(name) = &intent.overlay_option {
        let named = tables.link_named(name);
        if named.map_or_else(|| by_name(name), |link| family_of(tables, link)) == family {
            return Ok(named.map(|link| link.index));
        }
    }
    match candidates(tables, intent, family).as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(only.index)),
        several => Err(RoleProblem::SeveralOverlays(
            several.iter().map(|link| link.name.clone()).collect(),
        )),
    }
}

fn require_flannel(tables: &Tables, intent: &Intent) -> Result<(), RoleProblem> {
    if let Some(backend) = signs::other_backend(tables, intent) {
        return Err(RoleProblem::OtherBackend(backend));
    }
    if signs::signs_of_flannel(tables, intent).is_empty() {
        return Err(RoleProblem::NoFlannel);
    }
    Ok(())
}

/// The IP version that a VXLAN device serves: that of its address, else of its tunnel, which flannel
/// has in the same.
fn family_of(tables: &Tables, link: &Link) -> Family {
    let local = link.vxlan.as_ref().and_then(|vxlan| vxlan.local);
    let own = || cidrs::global_addresses(tables, link.index).next().map(|it| it.address);
    own().or(local).map_or_else(|| by_name(&link.name), Family::of)
}

fn by_name(name: &str) -> Family {
    if name.starts_with(IPV6_TWIN_PREFIX) { Family::V6 } else { Family::V4 }
}

/// The VXLAN devices of an IP version that satisfy the strongest criterion that any of them
/// satisfies; none where subnet.env names no subnet of it.
fn candidates<'a>(tables: &'a Tables, intent: &Intent, family: Family) -> Vec<&'a Link> {
    let env = intent.subnet_env.as_ref().filter(|env| !env.subnets.is_empty());
    if env.is_some_and(|env| cidrs::of_family(&env.subnets, family).next().is_none()) {
        return Vec::new();
    }
    let devices: Vec<(&Link, &Vxlan)> = tables
        .links
        .iter()
        .filter_map(|link| Some((link, link.vxlan.as_ref()?)))
        .filter(|(link, _)| !FOREIGN_OVERLAYS.contains(&link.name.as_str()))
        .filter(|(link, _)| family_of(tables, link) == family)
        .collect();
    let flannels_way = |link: &Link, vxlan: &Vxlan| {
        !vxlan.learning
            && !vxlan.external
            && !contradicts(tables, link, env)
            && overlay::is_used_as_flannels(tables, link)
    };
    let criteria: [&Criterion<'_>; 4] = [
        &|link, _| has_network_address(tables, link, env),
        &|link, _| link.name.starts_with("flannel"),
        &|link, vxlan| {
            flannels_way(link, vxlan) && overlay::peer_entries(tables, link).next().is_some()
        },
        &|link, vxlan| flannels_way(link, vxlan),
    ];
    criteria
        .iter()
        .map(|fits| {
            devices
                .iter()
                .filter(|(link, vxlan)| fits(link, vxlan))
                .map(|(link, _)| *link)
                .collect()
        })
        .find(|found: &Vec<&Link>| !found.is_empty())
        .unwrap_or_default()
}

/// The device's address is the network address of a subnet that subnet.env names.
fn has_network_address(tables: &Tables, link: &Link, env: Option<&SubnetEnv>) -> bool {
    let subnets = env.map_or(&[][..], |env| &env.subnets);
    subnets.iter().any(|subnet| {
        tables.addresses_of(link.index).any(|address| address.address == subnet.network())
    })
}

/// The device has addresses, and none is the one that subnet.env demands.
fn contradicts(tables: &Tables, link: &Link, env: Option<&SubnetEnv>) -> bool {
    env.is_some()
        && cidrs::global_addresses(tables, link.index).next().is_some()
        && !has_network_address(tables, link, env)
}

fn find_bridge(
    tables: &Tables,
    intent: &Intent,
    overlays: &[u32],
) -> Result<Option<u32>, RoleProblem> {
    if let Some(name) = &intent.bridge_option {
        let link = named(tables, "--bridge", name)?;
        return if is_bridge(link) {
            Ok(Some(link.index))
        } else {
            Err(RoleProblem::NotBridge { name: name.clone(), kind: kind_of(link) })
        };
    }
    let holds_pods = |link: &&Link| {
        tables
            .addresses_of(link.index)
            .any(|address| is_pod_gateway(tables, intent, overlays, address))
    };
    let bridges = || tables.links.iter().filter(|link| is_bridge(link));
    let by_name = || {
        let mut named = BRIDGES.iter().filter_map(|name| bridges().find(|it| it.name == *name));
        named.find(|link| is_in_use(tables, intent, overlays, link))
    };
    Ok(bridges().find(holds_pods).or_else(by_name).map(|link| link.index))
}

/// Whether a bridge has ports, or an address that no known pod CIDR of this node contradicts; a
/// left-over of another plugin has neither.
fn is_in_use(tables: &Tables, intent: &Intent, overlays: &[u32], bridge: &Link) -> bool {
    let of_family = |family| {
        let overlay = overlays.iter().copied().find(|index| serves(tables, *index, family));
        cidrs::own(Some(tables), intent, family, overlay, None)
    };
    let own: Vec<IpNet> = Family::ALL.into_iter().flat_map(of_family).collect();
    let is_ours = |address: &Address| {
        own.is_empty() || own.iter().any(|cidr| cidr.contains(&address.address))
    };
    tables.links.iter().any(|link| link.master == Some(bridge.index))
        || cidrs::global_addresses(tables, bridge.index).any(is_ours)
}

fn serves(tables: &Tables, index: u32, family: Family) -> bool {
    tables.link(index).is_some_and(|link| family_of(tables, link) == family)
}

/// Whether a bridge's address says that the bridge holds the pods of this node: it lies in the
/// subnet of subnet.env, or its network begins with the overlay device's address.
fn is_pod_gateway(tables: &Tables, intent: &Intent, overlays: &[u32], address: &Address) -> bool {
    let subnets = intent.subnet_env.as_ref().map_or(&[][..], |env| &env.subnets);
    if !subnets.is_empty() {
        return subnets.iter().any(|subnet| subnet.contains(&address.address));
    }
    let Ok(network) = IpNet::new(address.address, address.prefix_length) else { return false };
    overlays.iter().any(|index| {
        cidrs::global_addresses(tables, *index).any(|own| own.address == network.network())
    })
}

pub(super) fn named<'a>(
    tables: &'a Tables,
    option: &'static str,
    name: &str,
) -> Result<&'a Link, RoleProblem> {
    tables.link_named(name).ok_or_else(|| unknown(tables, option, name))
}

fn unknown(tables: &Tables, option: &'static str, name: &str) -> RoleProblem {
    let known = tables.links.iter().map(|link| link.name.clone()).collect();
    RoleProblem::UnknownInterface { option, name: name.to_owned(), known }
}

fn is_bridge(link: &Link) -> bool {
    link.kind.as_deref() == Some("bridge")
}

fn kind_of(link: &Link) -> String {
    link.kind.clone().unwrap_or_else(|| "a physical device".to_owned())
}
