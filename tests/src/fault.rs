//! Faults as named injections with an undo, one file each.
//!
//! A fault is two lists of scripts computed from the plan: what breaks a node and what heals it.
//! Adding one is adding a file and its line in [`all`].

mod bpf_or_tc_drops;
mod bridge_nf_call_off;
mod cni0_down;
mod cni0_wrong_address;
mod default_route_missing;
mod dns_pods;
mod duplicate_pod_address;
mod egress_dropped;
mod fdb_entry_dead_node_ip;
mod fdb_entry_missing;
mod fdb_entry_to_self;
pub mod filter;
mod flannel_address_missing;
mod flannel_link_down;
mod flannel_link_flapped;
mod flannel_link_missing;
mod flannel_link_recreated_empty;
mod flannel_mac_rewritten;
mod flannel_wrong_interface;
mod flanneld_memory_near_limit;
mod flanneld_not_running;
mod flanneld_oom_killed;
mod fw_drops_forwarded;
mod fw_drops_pod_to_node;
mod fw_drops_vxlan_input;
mod fw_drops_vxlan_output;
mod fw_rejects_forwarded;
mod injection;
mod ip_forward_off;
mod l3_uplink_daemon_stuck;
mod neigh_entry_missing;
mod neigh_entry_wrong_peer;
mod neigh_mac_not_in_fdb;
mod outer_df_set;
mod parts;
mod peer_node_route_broken;
mod peer_node_silent;
mod peer_node_unreachable;
mod pod_address_gone;
mod pod_mtu_larger_than_tunnel;
mod pod_neighbour_stale_mac;
mod pod_policy_drops;
mod pod_route_blackholed;
mod pod_route_missing;
mod pod_route_wrong_device;
mod pod_veth_detached;
mod policy_rule_hijacks_pod_route;
mod rp_filter_drops_inner;
pub mod services;
mod tunnel_fragments_outer;
mod underlay_neighbour_wrong_mac;
mod uplink_down;
mod vni_mismatch;
mod vtep_source_address_lost;
mod vxlan_port_taken;

#[cfg(test)]
mod tests;

use anyhow::{Context as _, Result, bail};

pub use self::injection::Injection;
use self::parts::{
    first_pod_sends, flanneld, given_up, pair, pod_given_up, remembered, second_pod, third,
    up_again,
};
use crate::{
    plan::{Family, Plan, Site, Stack, UplinkKind},
    script::Script,
    traffic::Sender,
};

/// What flannel calls its overlay devices for VNI 1.
const DEFAULT_OVERLAYS: [&str; 2] = ["flannel.1", "flannel-v6.1"];
/// What flannel's CNI plugin calls the bridge.
const DEFAULT_BRIDGE: &str = "cni0";

/// A way to break a node.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// What it is called on the command line: the code, and a suffix for a variant.
    pub name: &'static str,
    /// The finding that the tracer must report on the victim.
    pub code: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// How bad the finding is.
    pub severity: Severity,
    /// What the finding is about.
    pub subject: Subject,
    /// Which nodes lose packets with the victim.
    pub reach: Reach,
    /// A node alone has it too, and its tracer tells it without any peer.
    pub alone: bool,
    /// The findings that such a node may report with traffic, the likeliest first. Which of them
    /// depends on whether anything at all comes back from the victim.
    pub there: &'static [&'static str],
    /// What the victim reports in its stead while no peers file names the nodes, the likeliest
    /// first; nothing where the tables alone prove it.
    pub without_peers: &'static [&'static str],
    /// What the kernel drops, flow by flow, proves it. Where that is not read the victim calls it
    /// likely, and what concerns no peer it does not tell.
    pub by_drops: bool,
    /// The reason of these drops proves it: the same holds where the kernel gives none (before 5.17).
    pub by_reasons: bool,
    /// How many nodes the lab must have at least.
    pub nodes: usize,
    /// The families that can have it; the file of a fault says why one cannot.
    pub families: &'static [Family],
    /// Which of the victim's families have it at the same time.
    pub strikes: Strikes,
    /// Why it is none where the uplinks have no Ethernet.
    pub ethernet_only: Option<&'static str>,
    /// Why it is one only where the uplinks have no Ethernet.
    pub layer3_only: Option<&'static str>,
    /// Breaks the victim.
    pub breaks: fn(&Plan, Site) -> Vec<Script>,
    /// Heals it, once.
    pub heals: fn(&Plan, Site) -> Vec<Script>,
    /// What is sent while it lasts, where the traffic between the lab's pods does not feel it.
    pub traffic: fn(&Plan, Site) -> Vec<Sender>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Severity {
    Critical,
    Warning,
    Info,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The peer: `subject.key` is its pod CIDR.
    Peer,
    /// The victim's overlay device.
    Overlay,
    /// The victim's bridge.
    Bridge,
    /// The victim's uplink.
    Uplink,
    /// The victim itself: `subject.key` is its name.
    Node,
    /// The victim's overlay device, which is gone. Nothing on the node tells then what it was
    /// called, so the tracer uses flannel's default name.
    OverlayGone,
    /// The victim's bridge, which is gone: as above.
    BridgeGone,
    /// The near end of the veth of the victim's second pod.
    Veth,
    /// The address of the victim's second pod.
    PodAddress,
    /// A service, or the pod behind it.
    Service,
}

/// Which nodes lose packets with the victim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// None: everything between pods still works.
    Nobody,
    /// The peer of the site.
    OnePeer,
    /// The peer of the site in what it begins itself; it answers the victim.
    FromOnePeer,
    /// All other nodes.
    AllPeers,
    /// All other nodes in what they send to the victim's second pod. ICMP may tell them so, and an
    /// answer of any kind is no loss: they report one of [`Fault::there`], or nothing.
    OnePod,
}

/// Which of a node's families a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strikes {
    /// That of the site; the other goes on.
    OneFamily,
    /// All that there are: it is a fault of a device or a cable that they share.
    AllFamilies,
}

/// What a tracer must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The code of the finding.
    pub code: &'static str,
    /// `subject.key` of the finding.
    pub key: String,
}

/// What most faults have in common.
const PLAIN: Fault = Fault {
    name: "",
    code: "",
    summary: "",
    severity: Severity::Critical,
    subject: Subject::Peer,
    reach: Reach::OnePeer,
    alone: false,
    there: &["tunnel-one-way"],
    without_peers: &[],
    by_drops: false,
    by_reasons: false,
    nodes: 1,
    families: Stack::Dual.families(),
    strikes: Strikes::OneFamily,
    ethernet_only: None,
    layer3_only: None,
    breaks: |_, _| Vec::new(),
    heals: |_, _| Vec::new(),
    traffic: |_, _| Vec::new(),
};

/// What faults of one pod have in common: its node's second, which all nodes send to.
const ONE_POD: Fault =
    Fault { reach: Reach::OnePod, there: &["unexplained-loss"], nodes: 2, ..PLAIN };

/// The faults of uplinks without Ethernet, which no other lab can have.
#[must_use]
pub fn of_layer3() -> Vec<Fault> {
    l3_uplink_daemon_stuck::FAULTS.to_vec()
}

/// All faults but [`of_layer3`], the first is the demo's.
#[must_use]
pub fn all() -> Vec<Fault> {
    [
        pod_route_missing::FAULTS.as_slice(),
        pod_route_blackholed::FAULTS.as_slice(),
        pod_route_wrong_device::FAULTS.as_slice(),
        policy_rule_hijacks_pod_route::FAULTS.as_slice(),
        default_route_missing::FAULTS.as_slice(),
        flannel_link_missing::FAULTS.as_slice(),
        flannel_link_down::FAULTS.as_slice(),
        flannel_link_flapped::FAULTS.as_slice(),
        flannel_link_recreated_empty::FAULTS.as_slice(),
        flannel_address_missing::FAULTS.as_slice(),
        flannel_mac_rewritten::FAULTS.as_slice(),
        fdb_entry_missing::FAULTS.as_slice(),
        fdb_entry_to_self::FAULTS.as_slice(),
        neigh_entry_missing::FAULTS.as_slice(),
        neigh_mac_not_in_fdb::FAULTS.as_slice(),
        neigh_entry_wrong_peer::FAULTS.as_slice(),
        vtep_source_address_lost::FAULTS.as_slice(),
        uplink_down::FAULTS.as_slice(),
        peer_node_unreachable::FAULTS.as_slice(),
        peer_node_route_broken::FAULTS.as_slice(),
        flannel_wrong_interface::FAULTS.as_slice(),
        vxlan_port_taken::FAULTS.as_slice(),
        cni0_down::FAULTS.as_slice(),
        cni0_wrong_address::FAULTS.as_slice(),
        ip_forward_off::FAULTS.as_slice(),
        tunnel_fragments_outer::FAULTS.as_slice(),
        pod_mtu_larger_than_tunnel::FAULTS.as_slice(),
        outer_df_set::FAULTS.as_slice(),
        bridge_nf_call_off::FAULTS.as_slice(),
        flanneld_oom_killed::FAULTS.as_slice(),
        flanneld_memory_near_limit::FAULTS.as_slice(),
        flanneld_not_running::FAULTS.as_slice(),
        vni_mismatch::FAULTS.as_slice(),
        fw_rejects_forwarded::FAULTS.as_slice(),
        duplicate_pod_address::FAULTS.as_slice(),
        fdb_entry_dead_node_ip::FAULTS.as_slice(),
        peer_node_silent::FAULTS.as_slice(),
        underlay_neighbour_wrong_mac::FAULTS.as_slice(),
        pod_veth_detached::FAULTS.as_slice(),
        pod_address_gone::FAULTS.as_slice(),
        // Firewalls.
        fw_drops_vxlan_input::FAULTS.as_slice(),
        fw_drops_vxlan_output::FAULTS.as_slice(),
        fw_drops_forwarded::FAULTS.as_slice(),
        fw_drops_pod_to_node::FAULTS.as_slice(),
        egress_dropped::FAULTS.as_slice(),
        rp_filter_drops_inner::FAULTS.as_slice(),
        pod_policy_drops::FAULTS.as_slice(),
        bpf_or_tc_drops::FAULTS.as_slice(),
        // Pods' MACs.
        pod_neighbour_stale_mac::FAULTS.as_slice(),
        // DNS servers' pods.
        dns_pods::FAULTS.as_slice(),
    ]
    .concat()
}

/// A fault by its name.
///
/// # Errors
/// When there is none: the message lists those that there are.
pub fn named(name: &str) -> Result<Fault> {
    let every = || all().into_iter().chain(of_layer3()).chain(services::of_services());
    let names = || every().map(|fault| fault.name).collect::<Vec<_>>().join(", ");
    every()
        .find(|fault| fault.name == name)
        .with_context(|| format!("no fault is called {name}; there are: {}", names()))
}

// === impl Severity ===

impl Severity {
    /// The name in the contracts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

// === impl Fault ===

impl Fault {
    /// What the tracer must report on the victim, and nothing else there.
    #[must_use]
    pub fn here(&self, plan: &Plan, site: Site) -> Expected {
        let key = match self.subject {
            Subject::Peer => plan.nodes[site.peer].subnet.of(site.family).to_string(),
            Subject::Overlay => plan.overlay(site.family),
            Subject::Bridge => plan.nodes[site.victim].bridge.clone(),
            Subject::Uplink => plan.nodes[site.victim].uplink.clone(),
            Subject::Node => plan.nodes[site.victim].name.clone(),
            Subject::OverlayGone => DEFAULT_OVERLAYS[site.family as usize].to_owned(),
            Subject::BridgeGone => DEFAULT_BRIDGE.to_owned(),
            Subject::Veth => second_pod(plan, site).map_or_else(String::new, |it| it.veth.clone()),
            Subject::Service => services::subject(plan, site, self.code),
            Subject::PodAddress => second_pod(plan, site)
                .map_or_else(String::new, |it| it.ip.of(site.family).to_string()),
        };
        Expected { code: self.code, key }
    }

    /// With what `check` exits on the victim: an info alone is nothing wrong.
    #[must_use]
    pub fn exit_status(&self) -> i32 {
        i32::from(self.severity != Severity::Info)
    }

    /// What happens, in one line with names and addresses.
    #[must_use]
    pub fn story(&self, plan: &Plan, site: Site) -> String {
        let (victim, peer) = pair(plan, site);
        match self.subject {
            Subject::Peer => {
                let subnet = peer.subnet.of(site.family);
                format!("on {}: {} ({}, {subnet})", victim.name, self.summary, peer.name)
            }
            _ => format!("on {}: {}", victim.name, self.summary),
        }
    }

    /// The nodes that report one of [`Fault::there`] for the victim's pod CIDR; all nodes but these
    /// and the victim report nothing.
    #[must_use]
    pub fn affected(&self, plan: &Plan, site: Site) -> Vec<usize> {
        match self.reach {
            Reach::Nobody | Reach::OnePod => Vec::new(),
            Reach::OnePeer | Reach::FromOnePeer => vec![site.peer],
            Reach::AllPeers => plan.others(site.victim),
        }
    }

    /// The families that a fault at this site strikes.
    #[must_use]
    pub fn struck(&self, plan: &Plan, site: Site) -> Vec<Family> {
        match self.strikes {
            Strikes::OneFamily => vec![site.family],
            Strikes::AllFamilies => plan.families().to_vec(),
        }
    }

    /// Whether the family of a site can have it.
    #[must_use]
    pub fn suits(&self, site: Site) -> bool {
        self.families.contains(&site.family)
    }

    /// Why this lab cannot have it; `None` when it can.
    #[must_use]
    pub fn not_in(&self, plan: &Plan) -> Option<&'static str> {
        match plan.lan.uplink {
            UplinkKind::Ethernet => self.layer3_only,
            UplinkKind::Tun => self.ethernet_only,
        }
    }

    /// The findings that a node which talks to the victim may report in this lab: without Ethernet
    /// nobody asks for a MAC, so nobody finds a silent node unreachable by it.
    #[must_use]
    pub fn told_there(&self, plan: &Plan) -> Vec<&'static str> {
        let told = |code: &&'static str| match (plan.lan.uplink, *code) {
            (UplinkKind::Tun, "peer-node-unreachable-l2") => "tunnel-one-way",
            (_, code) => code,
        };
        self.there.iter().map(told).collect()
    }

    /// Breaks the victim; the guard heals it.
    ///
    /// # Errors
    /// When the site does not fit, or a script fails: then what was done is undone.
    pub fn inject(&self, plan: &Plan, site: Site) -> Result<Injection> {
        let undo = self.healing(plan, site)?;
        let injection = Injection::apply(&(self.breaks)(plan, site), undo)
            .with_context(|| format!("inject {}", self.name))?;
        Ok(injection.with((self.traffic)(plan, site)))
    }

    /// What heals it.
    ///
    /// # Errors
    /// When the site does not fit.
    pub fn healing(&self, plan: &Plan, site: Site) -> Result<Vec<Script>> {
        let nodes = plan.nodes.len();
        if site.victim >= nodes || site.peer >= nodes {
            bail!("the lab has {nodes} nodes, no n{}", site.victim.max(site.peer) + 1)
        }
        if site.victim == site.peer && self.subject == Subject::Peer {
            bail!("{} needs a peer other than the victim: a lab of --nodes 2 or more", self.name)
        }
        if nodes < self.nodes {
            bail!("{} needs a lab of --nodes {} or more", self.name, self.nodes)
        }
        if !plan.families().contains(&site.family) {
            bail!("the lab does not speak {}", site.family.name())
        }
        if !self.suits(site) {
            bail!("{} does not exist in {}", self.name, site.family.name())
        }
        if let Some(reason) = self.not_in(plan) {
            let other = match plan.lan.uplink {
                UplinkKind::Ethernet => "TUN",
                UplinkKind::Tun => "Ethernet",
            };
            bail!("{} needs a lab of {other} uplinks: {reason}", self.name)
        }
        Ok((self.heals)(plan, site))
    }
}
