//! A finding, in the form of the JSON contract.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;

use crate::evidence::MacAddress;

/// A judged cause.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Stable name of the fault.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// How sure it is.
    pub confidence: Confidence,
    /// One line for a reader who knows nothing else.
    pub title: String,
    /// What it is about.
    pub subject: Subject,
    /// Since when.
    pub since: Since,
    /// What it did in the window.
    pub impact: Impact,
    /// What else does not work because of it.
    pub breaks: Vec<String>,
    /// What proves it; never empty.
    pub evidence: Vec<String>,
    /// What repairs it, exact commands first; never empty. A note stands in parentheses.
    pub remedy: Vec<String>,
}

/// How bad a finding is; `Critical` is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know; never changes the exit status.
    Info,
    /// Something works worse than it should, or will fail.
    Warning,
    /// Pods cannot reach pods.
    Critical,
}

/// How sure a finding is; `Certain` is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// The symptom is proven, its cause is not.
    Likely,
    /// The proof of the cause is there.
    Certain,
}

/// What a finding is about. What is unknown is `None`, never guessed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// Which kind of thing.
    pub kind: SubjectKind,
    /// Its stable name: for a peer its pod CIDR, for a node its name, for packets what they have in
    /// common, else the interface.
    pub key: String,
    /// The peer's node address.
    pub peer: Option<IpAddr>,
    /// The peer's pod CIDR.
    pub cidr: Option<IpNet>,
    /// The MAC of the peer's overlay device.
    pub vtep_mac: Option<MacAddress>,
    /// The device.
    pub interface: Option<String>,
    /// The VIP, server or pod.
    pub address: Option<IpAddr>,
}

/// The kinds of subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubjectKind {
    /// Another node.
    Peer,
    /// A device of this node.
    Interface,
    /// This node.
    Node,
    /// Packets of a pod.
    Flow,
    /// The address of a load balancer.
    Vip,
    /// Who answers DNS queries.
    DnsServer,
}

/// Since when a fault holds, UTC.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Since {
    /// When it began, where something dates it.
    pub time: Option<Timestamp>,
    /// It cannot have begun before.
    pub not_before: Option<Timestamp>,
    /// It held at this time.
    pub not_after: Option<Timestamp>,
    /// How well this is known.
    pub precision: Precision,
    /// Who caused it.
    pub changed_by: Option<String>,
}

/// How well the begin of a fault is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// It was seen to begin, or an age tells.
    Exact,
    /// Between two known times.
    Bounded,
    /// Before the observation.
    BeforeStart,
}

/// What a fault did in the window.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Impact {
    /// Packets (segments) lost or misled.
    pub packets: u64,
    /// Flows among the listed ones that lost packets: a lower bound.
    pub flows: u64,
}

impl Severity {
    /// The name in the contracts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}
