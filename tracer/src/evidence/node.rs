use std::{net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Family, MacAddress};

/// The machine that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// `NODE_NAME` from the environment, else the host name.
    pub name: String,
    /// Kernel release, as `uname -r` prints it.
    pub kernel: String,
    /// What runs Kubernetes here; decides the words of a remedy.
    pub platform: Platform,
    /// Whether this kernel has VXLAN.
    #[serde(default)]
    pub vxlan: ModuleState,
}

/// Whether a kernel has what a module holds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModuleState {
    /// Loaded, built in, or to be loaded.
    Present,
    /// Neither loaded nor built in nor among the kernel's modules.
    Missing,
    /// The kernel's modules could not be read.
    #[default]
    Unknown,
}

/// What runs Kubernetes on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Platform {
    K3sServer,
    K3sAgent,
    Rke2Server,
    Rke2Agent,
    Talos,
    Kubeadm,
    Unknown,
}

/// When the evidence was taken.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Start of the observation, UTC.
    pub start: Timestamp,
    /// Its length; 0 when only the tables were asked for.
    pub seconds: f64,
}

/// Which device plays which part. Device numbers are ifindexes of [`super::Tables::links`].
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles {
    /// flannel's VXLAN device for IPv4.
    pub overlay: Option<u32>,
    /// Its twin for IPv6.
    #[serde(default)]
    pub overlay6: Option<u32>,
    /// The bridge that holds the pod subnet.
    pub bridge: Option<u32>,
    /// The devices by which the peers' addresses are routed.
    pub uplinks: Vec<u32>,
}

impl Roles {
    /// flannel's VXLAN device for an IP version.
    #[must_use]
    pub const fn overlay_of(&self, family: Family) -> Option<u32> {
        match family {
            Family::V4 => self.overlay,
            Family::V6 => self.overlay6,
        }
    }

    /// All of flannel's VXLAN devices, that for IPv4 first.
    pub fn overlays(&self) -> impl Iterator<Item = u32> + use<> {
        self.overlay.into_iter().chain(self.overlay6)
    }
}

/// What flannel means the tables to hold, and what shows that this is a flannel node.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// `subnet.env`, where there is one.
    pub subnet_env: Option<SubnetEnv>,
    /// Peers that a file or the API names; inferred ones are not here.
    pub peers: Vec<PeerIntent>,
    /// Pod network by `--cluster-cidr`.
    pub cluster_cidrs: Vec<IpNet>,
    /// Service network by `--service-cidr`.
    pub service_cidrs: Vec<IpNet>,
    /// Device named by `--overlay`: a sign of flannel even when it does not exist.
    pub overlay_option: Option<String>,
    /// Device named by `--bridge`.
    pub bridge_option: Option<String>,
    /// Devices named by `--uplink`.
    pub uplink_options: Vec<String>,
    /// VIPs by `--vip`.
    #[serde(default)]
    pub vips: Vec<IpAddr>,
    /// Devices on which VIPs are, by `--vip-interface`.
    #[serde(default)]
    pub vip_interface_options: Vec<String>,
    /// Chains that carry network policies on this node (kube-router's, Calico's), and tables that hand
    /// packets to them. Evidence of before 2026-11-22 has chains here that are there without a policy.
    #[serde(default)]
    pub policy_netfilter: Vec<String>,
    /// Chains of who enforces network policies that may have no chain on this node (Calico's).
    #[serde(default)]
    pub policy_elsewhere: Vec<String>,
    /// Chains and tables of kube-proxy on this node, e.g. `chain KUBE-SERVICES`.
    #[serde(default)]
    pub service_netfilter: Vec<String>,
    /// FLANNEL-* chains and flannel's nft tables on this node, e.g. `chain FLANNEL-FWD`.
    pub flannel_netfilter: Vec<String>,
}

/// flannel's `subnet.env`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetEnv {
    /// Where it was read.
    pub path: PathBuf,
    /// FLANNEL_NETWORK and FLANNEL_IPV6_NETWORK: the cluster's pod networks.
    pub networks: Vec<IpNet>,
    /// FLANNEL_SUBNET and FLANNEL_IPV6_SUBNET as written: the bridge's address and prefix length.
    pub subnets: Vec<IpNet>,
    /// FLANNEL_MTU, bytes.
    pub mtu: Option<u32>,
    /// FLANNEL_IPMASQ.
    pub ip_masq: Option<bool>,
}

/// A peer that a file or the API names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerIntent {
    /// Its pod CIDR.
    pub pod_cidr: IpNet,
    /// Its node address.
    pub node_ip: IpAddr,
    /// The MAC of its overlay device.
    pub vtep_mac: Option<MacAddress>,
    /// Its node name.
    pub name: Option<String>,
    /// Where this was read, e.g. `peers file peers.txt line 3`.
    pub source: String,
}

/// The flannel process of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flannel {
    /// Which program contains flannel here.
    pub process: FlannelProcess,
    /// Its process id in our PID namespace.
    pub pid: Option<u32>,
    /// When it started.
    pub since: Option<Timestamp>,
    /// What its memory cgroup holds; `None` where it has none, or it could not be read.
    #[serde(default)]
    pub memory: Option<FlannelMemory>,
    /// The last process of this name that the kernel killed for want of memory, by the kernel's
    /// log: of whichever container or node on this machine it was.
    #[serde(default)]
    pub last_kill: Option<OomKill>,
}

/// A process that the kernel killed for want of memory, as its log tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OomKill {
    /// When.
    pub time: Timestamp,
    /// The process' short name.
    pub name: String,
    /// Its process id in the first PID namespace.
    pub pid: u32,
    /// Its memory cgroup.
    pub cgroup: String,
    /// Its cgroup's limit was reached; else the machine had no memory left.
    pub by_limit: bool,
}

/// The memory cgroup of the flannel process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlannelMemory {
    /// Bytes in use, without inactive file pages.
    pub bytes: u64,
    /// The limit in bytes, if there is one.
    pub limit_bytes: Option<u64>,
    /// Processes that were killed for want of memory since the cgroup was made.
    pub oom_kills: u64,
    /// When the last one was killed, by the kernel's log.
    pub last_oom: Option<Timestamp>,
    /// Path of the cgroup below its mount.
    pub cgroup: String,
}

/// The program that contains flannel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum FlannelProcess {
    Flanneld,
    K3s,
    Rke2,
    None,
    Unknown,
}

/// One place where a program was to be attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Device name.
    pub interface: String,
    /// Device number.
    pub ifindex: u32,
    /// Side of the device.
    pub direction: HookDirection,
    /// Whether a program is attached.
    pub attached: bool,
    /// How (`tcx`, `clsact`), or why not.
    pub because: String,
    /// Programs of others that run before ours on this side and may end a packet's way there
    /// unseen, by short names.
    #[serde(default)]
    pub foreign: Vec<String>,
}

/// Side of a device, as tc names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum HookDirection {
    Ingress,
    Egress,
}

/// One feature of the tracer on this kernel with these privileges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// Short stable name, e.g. `stages`.
    pub feature: String,
    /// Whether it works here.
    pub state: CapabilityState,
    /// Why, and what is lost when it is not on.
    pub because: String,
}

/// Whether a feature works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum CapabilityState {
    On,
    Degraded,
    Off,
}
