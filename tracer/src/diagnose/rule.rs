//! What a rule is, and what it returns.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;

use super::{
    case::Case,
    finding::{Confidence, Finding, Impact, Severity, Since, Subject},
};
use crate::evidence::{Family, StagePair};

/// One fault that can be told.
pub(super) struct Rule {
    /// Stable name of the fault.
    pub(super) code: &'static str,
    /// How bad it is.
    pub(super) severity: Severity,
    /// How sure its proof is.
    pub(super) confidence: Confidence,
    /// What its proof is made of.
    pub(super) rank: Rank,
    /// Looks for the fault.
    pub(super) judge: fn(&Case<'_>) -> Ruling,
}

/// What a proof is made of; the greater explains the smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Something is missing that should have been seen.
    Inferred,
    /// What other machines answered: ICMP errors.
    Told,
    /// Packets.
    Live,
    /// One entry of a table, or the kernel's answer for one destination.
    Entry,
    /// One entry of a table, held against what flannel means it to be.
    Intent,
    /// A table as a whole.
    Table,
    /// The state of a device.
    Device,
    /// What the kernel has no code for.
    Kernel,
}

/// Something observed that a fault can be the cause of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    /// Packets of a peer's CIDR died between two stages.
    Loss(IpNet, StagePair),
    /// A smaller part of what pods send to a peer's CIDR ended before the tunnel: what conntrack calls
    /// invalid when other packets of these connections are lost.
    Invalid(IpNet),
    /// Packets for a peer's CIDR left un-encapsulated.
    Leak(IpNet),
    /// Packets for the pod network, but for no known peer, left un-encapsulated.
    StrayLeak(Family),
    /// Nothing came back from a peer that was asked.
    Silence(IpNet),
    /// The node of a peer answered that it takes no tunnel packets.
    Refused(IpNet),
    /// A peer has no route over the overlay device.
    NoRoute(IpNet),
    /// The node has no route to addresses outside the cluster.
    NoDefaultRoute(Family),
    /// The tunnel's own address is none of this node's.
    NoSourceAddress(Family),
    /// There is no overlay device.
    NoOverlay(Family),
    /// The node of a peer does not answer on the uplink.
    NoAnswer(IpNet),
    /// The kernel has no way to the node of a peer.
    NoWay(IpNet),
    /// A peer has no neighbour entry.
    NoNeighbour(IpNet),
    /// A peer has no FDB entry.
    NoFdb(IpNet),
    /// flannel has not the memory that it needs.
    FlannelMemory,
    /// Packets for an address of this node's pod network reached no pod.
    Undelivered(IpAddr),
    /// Packets were dropped in the network namespace of a pod of this node.
    InPod(IpAddr),
    /// Packets between a pod of this node and peers were dropped where the pod is attached.
    AtPort(IpAddr),
    /// Packets of a pod to this node were dropped.
    ToNode(IpAddr),
    /// Packets of a pod to addresses outside the cluster were dropped.
    Outside(IpAddr),
    /// Tunnel packets for a peer were dropped where an uplink queues them, after they were counted.
    Queued(IpNet),
    /// Pods' packets for a peer were dropped because they are too big for the way there, which no
    /// stage misses.
    TooBig(IpNet),
    /// Packets of clients to a VIP that this node claims were dropped.
    ToVip(IpAddr),
    /// Nobody answers for a VIP.
    Unanswered(IpAddr),
    /// Pods send larger packets than the overlay device takes.
    LargePods,
    /// Packets of pods to a port of a service were refused, or left for the service's own address.
    ToService(SocketAddr),
    /// A DNS server answers with errors of this code.
    DnsErrors(IpAddr, u8),
    /// A DNS server answers too late.
    LateAnswers(IpAddr),
}

/// What a rule says about a case.
#[derive(Debug, Default)]
pub(super) struct Ruling {
    /// The faults found.
    pub(super) judged: Vec<Judged>,
    /// What it could not tell, and why.
    pub(super) unseen: Vec<String>,
}

/// A finding with what ties it to others.
#[derive(Debug, Clone)]
pub(super) struct Judged {
    /// The finding; its impact and `breaks` are filled by the merge.
    pub(super) finding: Finding,
    /// What its proof is made of.
    pub(super) rank: Rank,
    /// What it rests on: explained all of it, it is no fault of its own. Empty for a device.
    pub(super) supports: BTreeSet<Effect>,
    /// What it causes.
    pub(super) explains: BTreeSet<Effect>,
    /// Its words among another finding's `breaks`.
    pub(super) as_break: String,
}

impl Rule {
    /// A finding of this rule.
    pub(super) fn finding(
        &self,
        title: String,
        subject: Subject,
        since: Since,
        evidence: Vec<String>,
        remedy: Vec<String>,
    ) -> Finding {
        Finding {
            code: self.code,
            severity: self.severity,
            confidence: self.confidence,
            title,
            subject,
            since,
            impact: Impact::default(),
            breaks: Vec::new(),
            evidence,
            remedy,
        }
    }
}

impl Effect {
    /// The peer it concerns.
    pub(super) const fn cidr(&self) -> Option<IpNet> {
        match self {
            Self::Loss(cidr, _)
            | Self::Invalid(cidr)
            | Self::Leak(cidr)
            | Self::Silence(cidr)
            | Self::Refused(cidr)
            | Self::NoRoute(cidr)
            | Self::NoAnswer(cidr)
            | Self::NoWay(cidr)
            | Self::NoNeighbour(cidr)
            | Self::NoFdb(cidr)
            | Self::Queued(cidr)
            | Self::TooBig(cidr) => Some(*cidr),
            Self::StrayLeak(_)
            | Self::NoDefaultRoute(_)
            | Self::NoSourceAddress(_)
            | Self::NoOverlay(_)
            | Self::FlannelMemory
            | Self::Undelivered(_)
            | Self::InPod(_)
            | Self::AtPort(_)
            | Self::ToNode(_)
            | Self::Outside(_)
            | Self::LargePods
            | Self::ToService(_)
            | Self::DnsErrors(..)
            | Self::LateAnswers(_)
            | Self::ToVip(_)
            | Self::Unanswered(_) => None,
        }
    }

    /// Everything that can happen to the packets and entries of a peer.
    pub(super) fn everything_of(cidr: IpNet) -> impl Iterator<Item = Self> {
        let entries = [Self::NoRoute(cidr), Self::NoNeighbour(cidr), Self::NoFdb(cidr)];
        Self::all_losses(cidr).chain(entries)
    }

    /// What happens to the packets of a peer whose node cannot be reached by the uplink.
    pub(super) fn beyond_overlay(cidr: IpNet) -> impl Iterator<Item = Self> {
        let pairs = [StagePair::OverlayToWire, StagePair::WireToPeer];
        let losses = pairs.into_iter().map(move |pair| Self::Loss(cidr, pair));
        let others = [Self::Silence, Self::NoAnswer, Self::NoWay, Self::Refused];
        losses.chain(others.map(|effect| effect(cidr)))
    }

    /// Everything that can happen to the packets of a peer.
    pub(super) fn all_losses(cidr: IpNet) -> impl Iterator<Item = Self> {
        let losses = StagePair::LOCAL.into_iter().map(move |pair| Self::Loss(cidr, pair));
        losses.chain([Self::Leak(cidr), Self::Silence(cidr), Self::Refused(cidr)])
    }

    /// What happens to packets that leave for a peer and that its tunnel end does not take, or the
    /// other way round.
    pub(super) fn between_tunnel_ends(cidr: IpNet) -> impl Iterator<Item = Self> {
        let pairs = [StagePair::WireToPeer, StagePair::WireToOverlay];
        let losses = pairs.into_iter().map(move |pair| Self::Loss(cidr, pair));
        losses.chain([Self::Silence(cidr), Self::Refused(cidr)])
    }
}

impl From<Vec<Judged>> for Ruling {
    fn from(judged: Vec<Judged>) -> Self {
        Self { judged, unseen: Vec::new() }
    }
}

impl From<Option<Judged>> for Ruling {
    fn from(judged: Option<Judged>) -> Self {
        Self::from(Vec::from_iter(judged))
    }
}
