//! What a rule looks at: the evidence, its topology, and the words that rules share.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

use super::finding::{Precision, Since, Subject, SubjectKind};
use crate::{
    evidence::{
        Evidence, Family, Hook, HookDirection, Link, Route, RouteOutcome, Stage, StagePair, Tables,
        UdpSocket, Vxlan,
    },
    topology::{Peer, TABLE_LOCAL, TABLE_MAIN, Topologies, Topology},
};

/// flannel's VNI when nothing tells another.
const DEFAULT_VNI: u32 = 1;

/// What holds the UDP port of the tunnel in place of the overlay device.
pub(super) enum PortHolder<'a> {
    /// A VXLAN device that shares it with nobody.
    Device(&'a Link),
    /// A socket of something else, bound to this address.
    Socket(IpAddr),
}

/// One node's evidence and who is who in it, as far as one IP version goes.
pub(super) struct Case<'a> {
    /// Everything known.
    pub(super) evidence: &'a Evidence,
    /// Who is who.
    pub(super) topology: Topology<'a>,
    /// flannel serves the other IP version on this node too.
    pub(super) is_dual_stack: bool,
}

impl<'a> Case<'a> {
    /// A case for each IP version that flannel serves; one at least.
    pub(super) fn all_of(evidence: &'a Evidence) -> Vec<Self> {
        let topologies = Vec::from_iter(Topologies::of(evidence));
        let is_dual_stack = topologies.len() > 1;
        let case = |topology| Self { evidence, topology, is_dual_stack };
        topologies.into_iter().map(case).collect()
    }

    /// The tables and the overlay device, when it works: up, and able to have routes.
    pub(super) fn working_overlay(&self) -> Option<(&'a Tables, &'a Link)> {
        let overlay = self.topology.overlay.filter(|_| self.topology.overlay_serves())?;
        Some((self.topology.tables?, overlay))
    }

    /// The device by which the node sends to itself; each network namespace has it, by this name.
    pub(super) fn loopback(&self) -> Option<&'a Link> {
        self.topology.tables?.link_named("lo")
    }

    /// Whether unicast routes lead to the overlay device.
    pub(super) fn has_overlay_routes(&self) -> bool {
        self.topology.overlay_routes().next().is_some()
    }

    /// What holds the UDP port of an overlay device that is down, and keeps it from coming up.
    ///
    /// VXLAN devices of the same settings share one socket; one that takes its parameters from
    /// metadata (`external`) does not, in neither IP version, nor one that carries group policies
    /// (`gbp`) in its own (drivers/net/vxlan/vxlan_core.c, vxlan_sock_add, Linux 6.18).
    /// While a device that shares has the port, its socket cannot be told from a stranger's.
    pub(super) fn port_holder(&self) -> Option<PortHolder<'a>> {
        let overlay = self.topology.overlay.filter(|overlay| !overlay.up)?;
        let own = overlay.vxlan.as_ref()?;
        let tables = self.topology.tables?;
        let others = || {
            let links = tables.links.iter().filter(|it| it.index != overlay.index && it.up);
            links.filter_map(|it| {
                Some((it, it.vxlan.as_ref().filter(|vxlan| vxlan.port == own.port)?))
            })
        };
        let of_ipv4 = |vxlan: &Vxlan| vxlan.local.is_none_or(|local| local.is_ipv4());
        let is_ipv4 = of_ipv4(own);
        let takes_port = |vxlan: &Vxlan| {
            let is_same_family = vxlan.external || of_ipv4(vxlan) == is_ipv4;
            is_same_family && (vxlan.external, vxlan.gbp) != (own.external, own.gbp)
        };
        if let Some((holder, _)) = others().find(|(_, vxlan)| takes_port(vxlan)) {
            return Some(PortHolder::Device(holder));
        }
        // A tunnel of IPv6 opens a socket for IPv6 alone.
        let collides = |socket: &&UdpSocket| {
            let is_same_family = socket.address.is_ipv4() == is_ipv4;
            let takes_both = socket.address.is_ipv6() && !socket.v6_only;
            socket.port == own.port && (is_same_family || is_ipv4 && takes_both)
        };
        let is_shared = others().any(|(_, vxlan)| of_ipv4(vxlan) == is_ipv4);
        let socket = tables.udp_sockets.iter().find(collides).filter(|_| !is_shared)?;
        Some(PortHolder::Socket(socket.address))
    }

    /// Whether nothing passes `stage` unseen: what was not counted there did not come.
    pub(super) fn sees_all(&self, stage: Stage) -> bool {
        self.observed(stage) && !self.may_be_hidden(stage)
    }

    /// Why the tables were read but cannot be judged: a fault of the overlay device that has no
    /// rule, and without which no other rule speaks.
    pub(super) fn not_judged(&self) -> Option<String> {
        let overlay = self.topology.overlay.filter(|overlay| overlay.up)?;
        if self.topology.overlay_serves() {
            return None;
        }
        let name = &overlay.name;
        let because = match self.topology.family {
            Family::V4 => {
                format!("{name} has no address; `ip address show dev {name}` shows what it has")
            }
            Family::V6 => format!(
                "{name} has no IPv6 address, not even a link-local one: its MTU is {} (IPv6 needs \
                 1280), or IPv6 is switched off (`sysctl net/ipv6/conf/{name}/disable_ipv6`)",
                overlay.mtu
            ),
        };
        Some(format!("routes, neighbours and FDB entries were not judged: {because}"))
    }

    /// The tunnel in words.
    pub(super) const fn tunnel(&self) -> &'static str {
        match (self.is_dual_stack, self.topology.family) {
            (false, _) => "tunnel to its peers",
            (true, Family::V4) => "tunnel for IPv4 to its peers",
            (true, Family::V6) => "tunnel for IPv6 to its peers",
        }
    }

    /// The address of this node's tunnel end.
    pub(super) fn node_ip(&self) -> Option<IpAddr> {
        self.topology.overlay?.vxlan.as_ref()?.local
    }

    /// The overlay device's name, or what it would be called: named by option, else by flannel
    /// after the VNI, of which the device of the other IP version has the same.
    pub(super) fn overlay_name(&self) -> String {
        let evidence = self.evidence;
        let other = || {
            let tables = evidence.tables.as_ref()?;
            evidence.roles.overlays().find_map(|index| tables.link(index)?.vxlan.as_ref())
        };
        let (named, twin) = (evidence.intent.overlay_option.as_ref(), other());
        let named = named.filter(|_| twin.is_none());
        let vni = || twin.map_or(DEFAULT_VNI, |vxlan| vxlan.vni);
        let by_flannel = || match self.topology.family {
            Family::V4 => format!("flannel.{}", vni()),
            Family::V6 => format!("flannel-v6.{}", vni()),
        };
        let existing = self.topology.overlay.map(|link| &link.name);
        existing.or(named).cloned().unwrap_or_else(by_flannel)
    }

    /// Whether `stage` was observed: packets that did not come could have been seen there.
    pub(super) fn observed(&self, stage: Stage) -> bool {
        observed(self.evidence, &self.topology, stage)
    }

    /// Whether both ends of a pair were observed, as far as they lie on this node.
    pub(super) fn observed_pair(&self, pair: StagePair) -> bool {
        self.observed(pair.last_seen()) && pair.next().is_none_or(|next| self.observed(next))
    }

    /// Whether an address of this node's pod network is a pod, as far as the node knows: its
    /// neighbour on the bridge is resolved, before the window or after it.
    pub(super) fn is_live_pod(&self, address: IpAddr) -> bool {
        let Some(bridge) = self.topology.bridge else { return true };
        let tables = self.topology.tables.into_iter().chain(&self.evidence.tables_after);
        let mut neighbours = tables.flat_map(|tables| &tables.neighbours);
        neighbours.any(|neighbour| {
            neighbour.ifindex == bridge.index
                && neighbour.address == address
                && neighbour.state.is_valid()
        })
    }

    /// Whether packets may have passed `stage` unseen, see [`may_be_hidden`]: then their absence
    /// there proves no loss.
    pub(super) fn may_be_hidden(&self, stage: Stage) -> bool {
        may_be_hidden(&self.topology, &self.evidence.hooks, stage)
    }

    /// Since some time before the observation.
    pub(super) fn before_start(&self) -> Since {
        Since {
            time: None,
            not_before: None,
            not_after: Some(self.evidence.window.start),
            precision: Precision::BeforeStart,
            changed_by: None,
        }
    }

    /// Since some time after an entry was written, `age` seconds before the observation.
    pub(super) fn after_age(&self, age: Option<f64>) -> Since {
        let not_before = age.and_then(|age| self.moments_ago(age));
        let precision =
            if not_before.is_some() { Precision::Bounded } else { Precision::BeforeStart };
        Since { not_before, precision, ..self.before_start() }
    }

    /// Seen to hold inside the window; nothing tells since when.
    pub(super) fn in_window(&self) -> Since {
        let end = self.moments_ago(-self.evidence.window.seconds);
        Since { not_after: end, precision: Precision::Bounded, ..self.before_start() }
    }

    /// The time `age` seconds before the observation.
    pub(super) fn moments_ago(&self, age: f64) -> Option<Timestamp> {
        let age = SignedDuration::try_from_secs_f64(age).ok()?;
        let age = SignedDuration::from_millis(i64::try_from(age.as_millis()).ok()?);
        self.evidence.window.start.checked_sub(age).ok()
    }

    /// A peer as the subject of a finding.
    pub(super) fn about_peer(&self, peer: &Peer<'_>) -> Subject {
        Subject {
            kind: SubjectKind::Peer,
            key: peer.cidr.to_string(),
            peer: peer.node_ip,
            cidr: Some(peer.cidr),
            vtep_mac: peer.vtep_mac,
            interface: self.topology.overlay.map(|link| link.name.clone()),
            address: None,
        }
    }

    /// A device as the subject of a finding.
    pub(super) fn about_interface(&self, name: &str) -> Subject {
        Subject {
            kind: SubjectKind::Interface,
            key: name.to_owned(),
            peer: None,
            cidr: None,
            vtep_mac: None,
            interface: Some(name.to_owned()),
            address: None,
        }
    }

    /// This node as the subject of a finding about a device.
    pub(super) fn about_node(&self, device: &str) -> Subject {
        Subject {
            kind: SubjectKind::Node,
            key: self.evidence.node.name.clone(),
            ..self.about_interface(device)
        }
    }

    /// Words for the kernel's answer, to follow "the kernel".
    pub(super) fn describe(&self, outcome: &RouteOutcome) -> String {
        match outcome {
            RouteOutcome::Route(route) => format!("would send it {}", self.describe_route(route)),
            RouteOutcome::Refused(22) => "refuses it as a blackhole (errno 22)".to_owned(),
            RouteOutcome::Refused(113) => "refuses it as unreachable (errno 113)".to_owned(),
            RouteOutcome::Refused(13) => "refuses it as prohibited (errno 13)".to_owned(),
            RouteOutcome::Refused(101) => "has no route for it (errno 101)".to_owned(),
            RouteOutcome::Refused(errno) => format!("refuses it (errno {errno})"),
        }
    }

    fn describe_route(&self, route: &Route) -> String {
        let hops: Vec<String> = route
            .next_hops
            .iter()
            .map(|hop| {
                let gateway = hop.gateway.map(|gateway| format!("through {gateway} "));
                format!("{}by {}", gateway.unwrap_or_default(), self.name_of(hop.ifindex))
            })
            .collect();
        let which = if route.destination.prefix_len() == 0 {
            "the default route".to_owned()
        } else {
            format!("the route {}", route.destination)
        };
        format!("{} ({which} of table {})", hops.join(" and "), table_name(route.table))
    }

    /// The name of a route's device.
    pub(super) fn name_of(&self, index: Option<u32>) -> &'a str {
        let link = index.zip(self.topology.tables).and_then(|(index, tables)| tables.link(index));
        link.map_or("an unknown device", |link| &link.name)
    }
}

/// Whether a device has no program of the tracer's where `stage` is counted, or one of others
/// before it that may end a packet's way.
pub(super) fn may_be_hidden(topology: &Topology<'_>, hooks: &[Hook], stage: Stage) -> bool {
    let (devices, direction) = place_of(topology, stage);
    let sees_all = |link: &&Link| {
        hooks.iter().any(|hook| {
            hook.ifindex == link.index
                && hook.direction == direction
                && hook.attached
                && hook.foreign.is_empty()
        })
    };
    !devices.iter().all(sees_all)
}

/// The devices and their side at which `stage` is counted.
fn place_of<'a>(topology: &Topology<'a>, stage: Stage) -> (Vec<&'a Link>, HookDirection) {
    match stage {
        Stage::PodOut => (Vec::from_iter(topology.bridge), HookDirection::Ingress),
        Stage::PodIn => (Vec::from_iter(topology.bridge), HookDirection::Egress),
        Stage::OverlayOut => (Vec::from_iter(topology.overlay), HookDirection::Egress),
        Stage::OverlayIn => (Vec::from_iter(topology.overlay), HookDirection::Ingress),
        Stage::WireOut => (topology.uplinks.clone(), HookDirection::Egress),
        Stage::WireIn => (topology.uplinks.clone(), HookDirection::Ingress),
    }
}

/// Whether an address is of IPv6 and link-local, as the kernel gives one to each device.
pub(super) const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// The name of a routing table, as `ip route` prints it.
pub(super) fn table_name(table: u32) -> String {
    match table {
        TABLE_MAIN => "main".to_owned(),
        TABLE_LOCAL => "local".to_owned(),
        other => other.to_string(),
    }
}

/// Whether `stage` was observed: it has devices, and a program was attached on that side of each.
pub(super) fn observed(evidence: &Evidence, topology: &Topology<'_>, stage: Stage) -> bool {
    let (devices, direction) = place_of(topology, stage);
    let is_hooked = |index: u32| {
        let mut hooks = evidence.hooks.iter();
        hooks.any(|hook| hook.ifindex == index && hook.direction == direction && hook.attached)
    };
    evidence.traffic.is_some()
        && !devices.is_empty()
        && devices.iter().all(|link| is_hooked(link.index))
}
