//! Which device is the overlay, the bridge, an uplink.

use ipnet::IpNet;

use super::{cidrs, overlay, signs, uplinks};
use crate::evidence::{Address, Intent, Link, Roles, SubnetEnv, Tables, Vxlan};

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
    let overlay = find_overlay(tables, intent)?;
    let bridge = find_bridge(tables, intent, overlay)?;
    let uplinks = uplinks::find(tables, intent, overlay, bridge)?;
    Ok(Roles { overlay, bridge, uplinks })
}

fn find_overlay(tables: &Tables, intent: &Intent) -> Result<Option<u32>, RoleProblem> {
    let candidates = overlay_candidates(tables, intent);
    if let Some(name) = &intent.overlay_option {
        return match tables.link_named(name) {
            Some(link) if link.vxlan.is_none() => {
                Err(RoleProblem::NotVxlan { name: name.clone(), kind: kind_of(link) })
            }
            // Beside flannel's device the name is a slip of the pen; without one it says which
            // device is missing.
            None if candidates.iter().any(|link| link.name.starts_with("flannel")) => {
                Err(unknown(tables, "--overlay", name))
            }
            found => Ok(found.map(|link| link.index)),
        };
    }
    match candidates.as_slice() {
        [only] => Ok(Some(only.index)),
        [] => no_overlay(tables, intent),
        several => Err(RoleProblem::SeveralOverlays(
            several.iter().map(|link| link.name.clone()).collect(),
        )),
    }
}

fn no_overlay(tables: &Tables, intent: &Intent) -> Result<Option<u32>, RoleProblem> {
    if let Some(backend) = signs::other_backend(tables, intent) {
        return Err(RoleProblem::OtherBackend(backend));
    }
    if signs::signs_of_flannel(tables, intent).is_empty() {
        return Err(RoleProblem::NoFlannel);
    }
    Ok(None)
}

/// The VXLAN devices that satisfy the strongest criterion that any of them satisfies.
fn overlay_candidates<'a>(tables: &'a Tables, intent: &Intent) -> Vec<&'a Link> {
    let env = intent.subnet_env.as_ref();
    let dual_stack = env.is_some_and(|env| env.subnets.iter().any(|it| it.addr().is_ipv4()));
    let devices: Vec<(&Link, &Vxlan)> = tables
        .links
        .iter()
        .filter_map(|link| Some((link, link.vxlan.as_ref()?)))
        .filter(|(link, _)| !FOREIGN_OVERLAYS.contains(&link.name.as_str()))
        // On a dual-stack node the twin must not stand in for the device that is gone.
        .filter(|(link, _)| !(dual_stack && link.name.starts_with(IPV6_TWIN_PREFIX)))
        .collect();
    let flannels_way = |link: &Link, vxlan: &Vxlan| {
        !vxlan.learning
            && !vxlan.external
            && !contradicts(tables, link, env)
            && overlay::is_used_as_flannels(tables, link)
    };
    let criteria: [&Criterion<'_>; 6] = [
        &|link, _| has_network_address(tables, link, env, true),
        &|link, _| has_network_address(tables, link, env, false),
        &|link, _| link.name.starts_with("flannel") && !link.name.starts_with(IPV6_TWIN_PREFIX),
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
fn has_network_address(tables: &Tables, link: &Link, env: Option<&SubnetEnv>, ipv4: bool) -> bool {
    let subnets = env.map_or(&[][..], |env| &env.subnets);
    subnets.iter().filter(|subnet| subnet.addr().is_ipv4() == ipv4).any(|subnet| {
        tables.addresses_of(link.index).any(|address| address.address == subnet.network())
    })
}

/// The device has addresses, and none is the one that subnet.env demands.
fn contradicts(tables: &Tables, link: &Link, env: Option<&SubnetEnv>) -> bool {
    env.is_some_and(|env| !env.subnets.is_empty())
        && cidrs::global_addresses(tables, link.index).next().is_some()
        && !has_network_address(tables, link, env, true)
        && !has_network_address(tables, link, env, false)
}

fn find_bridge(
    tables: &Tables,
    intent: &Intent,
    overlay: Option<u32>,
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
            .any(|address| is_pod_gateway(tables, intent, overlay, address))
    };
    let bridges = || tables.links.iter().filter(|link| is_bridge(link));
    let by_name = || {
        let mut named = BRIDGES.iter().filter_map(|name| bridges().find(|it| it.name == *name));
        named.find(|link| is_in_use(tables, intent, overlay, link))
    };
    Ok(bridges().find(holds_pods).or_else(by_name).map(|link| link.index))
}

/// Whether a bridge has ports, or an address that no known pod CIDR of this node contradicts; a
/// left-over of another plugin has neither.
fn is_in_use(tables: &Tables, intent: &Intent, overlay: Option<u32>, bridge: &Link) -> bool {
    let own = cidrs::own(Some(tables), intent, overlay, None);
    let is_ours = |address: &Address| {
        own.is_empty() || own.iter().any(|cidr| cidr.contains(&address.address))
    };
    tables.links.iter().any(|link| link.master == Some(bridge.index))
        || cidrs::global_addresses(tables, bridge.index).any(is_ours)
}

/// Whether a bridge's address says that the bridge holds the pods of this node: it lies in the
/// subnet of subnet.env, or its network begins with the overlay device's address.
fn is_pod_gateway(
    tables: &Tables,
    intent: &Intent,
    overlay: Option<u32>,
    address: &Address,
) -> bool {
    let subnets = intent.subnet_env.as_ref().map_or(&[][..], |env| &env.subnets);
    if !subnets.is_empty() {
        return subnets.iter().any(|subnet| subnet.contains(&address.address));
    }
    let Ok(network) = IpNet::new(address.address, address.prefix_length) else { return false };
    overlay.is_some_and(|index| {
        cidrs::global_addresses(tables, index).any(|own| own.address == network.network())
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
