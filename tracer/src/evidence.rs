//! Evidence: everything known about one node at one instant.
//!
//! Collectors fill it, rules only read it, exporters only print it. It is plain data and
//! serialisable: `check --save` writes it and `check --from` judges it again, without root and on
//! any machine. Times inside it are ages in seconds before [`Window::start`], so that two clocks
//! never meet.

mod dns;
mod drops;
mod family;
mod mac;
mod node;
mod probes;
mod sightings;
mod stage;
mod statistics;
mod tables;
mod traffic;
mod vips;

use serde::{Deserialize, Serialize};

pub(crate) use self::dns::next_to_none;
pub use self::{
    dns::{Dns, DnsAnswers, DnsServer, DnsTcp, DnsTimeouts},
    drops::{Drop, DropFlow, DropOuter, DropPlace, Drops},
    family::Family,
    mac::MacAddress,
    node::{
        Capability, CapabilityState, Flannel, FlannelMemory, FlannelProcess, Hook, HookDirection,
        Intent, ModuleState, Node, OomKill, PeerIntent, Platform, Roles, SubnetEnv, Window,
    },
    probes::{PeerProbe, ProbedSize, Probes},
    sightings::{IcmpError, Sight, Sighting},
    stage::{Stage, StageCounts, StagePair},
    statistics::{
        Conntrack, DeviceCounters, NeighbourTable, QueueCounters, RpFilter, SnmpCounters,
        Statistics,
    },
    tables::{
        Address, DontFragment, FdbEntry, Forwarding, Link, Neighbour, NeighbourState, NextHop,
        Origin, Route, RouteAnswer, RouteKind, RouteOutcome, Rule, Scope, Tables, UdpSocket, Vxlan,
    },
    traffic::{
        Count, Flow, LargePackets, Losses, ParseErrors, PeerTraffic, SelfCounters, StageTotals,
        Stranger, Traffic, Undelivered, Untranslated, has_ports,
    },
    vips::{Vip, VipAnnouncer, VipClient, VipDevice, VipOwner, VipRules, Vips},
};

/// Name and version of the format that `check --save` writes.
pub const SCHEMA: &str = "flannel-tracer/evidence/v1";

/// Everything known about one node at one instant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The machine that was looked at.
    pub node: Node,
    /// When, and for how long.
    pub window: Window,
    /// Only the tables were asked for (`--duration 0`).
    pub tables_only: bool,
    /// What flannel means the tables to hold.
    pub intent: Intent,
    /// Which device plays which part.
    pub roles: Roles,
    /// What the kernel has now; `None` when it could not be read.
    pub tables: Option<Tables>,
    /// The same once more, after the window: what does not hold in both was in flux, and no rule
    /// speaks of it. `None` when they were read once.
    #[serde(default)]
    pub tables_after: Option<Tables>,
    /// What the stages counted in the window; `None` when they were not observed.
    pub traffic: Option<Traffic>,
    /// What the kernel dropped in the window; `None` when it was not observed.
    #[serde(default)]
    pub drops: Option<Drops>,
    /// Who asked for VIPs and who answered in the window; `None` when it was not observed.
    #[serde(default)]
    pub vips: Option<Vips>,
    /// What became of DNS queries in the window; `None` when they were not paired.
    #[serde(default)]
    pub dns: Option<Dns>,
    /// What peers answered; `None` when they were not asked (`--probe`).
    #[serde(default)]
    pub probes: Option<Probes>,
    /// What the kernel's own counters rose by in the window; `None` when they were not read.
    #[serde(default)]
    pub statistics: Option<Statistics>,
    /// The places where programs were to be attached, and whether they are.
    pub hooks: Vec<Hook>,
    /// Each feature of the tracer on this kernel with these privileges.
    pub capabilities: Vec<Capability>,
    /// The flannel process of this node.
    pub flannel: Flannel,
    /// What could not be checked, and why: whole sentences without a full stop.
    pub unseen: Vec<String>,
}
