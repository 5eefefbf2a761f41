//! The way from one node to another: what the one sent, and what the other got of it.
//!
//! Counts of two machines are compared only as nothing against many: windows do not begin at the same
//! instant, and clocks differ.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};

use super::member::Member;
use crate::{
    diagnose::case::Case,
    evidence::{Link, PeerTraffic, Stage, Vxlan},
    topology::Peer,
};

/// How many packets must have left while the other looked.
const MANY: u64 = 10;
/// The part of half a window that the other may have missed: reading takes a moment.
const SLACK: f64 = 0.1;

/// A node as one end of the way.
pub(super) struct Side<'c, 'a> {
    /// Who it is.
    pub(super) member: &'c Member,
    /// Its evidence, of the IP version in question.
    pub(super) case: &'c Case<'a>,
    /// The other, as this node knows it.
    pub(super) peer: &'c Peer<'a>,
    /// What it counted of the other.
    pub(super) traffic: &'c PeerTraffic,
}

/// What became of the packets.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fate {
    /// None of them came in.
    Lost(Lost),
    /// So many of them came in.
    Arrived(u64),
    /// It cannot be told; why, where that is worth a line.
    Unknown(Option<String>),
}

/// Packets that left one node and never came to the other.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lost {
    /// How many left while the other looked, or more.
    pub(super) sent: u64,
    /// Whether the sender's own queue is known not to have dropped them.
    pub(super) is_queue_known: bool,
    /// For how long both looked at once, seconds.
    pub(super) together: f64,
    /// The address that they were sent to, and the device that has it.
    pub(super) address: IpAddr,
    /// The device of the receiver that has this address.
    pub(super) interface: String,
}

/// Large packets that left one node and never came to the other, which got smaller ones.
pub(super) struct Large {
    /// How many left while the other looked, or more.
    pub(super) sent: u64,
    /// How many smaller ones came in.
    pub(super) smaller: u64,
    /// For how long both looked at once, seconds.
    pub(super) together: f64,
    /// The device of the receiver where they should have come in.
    pub(super) interface: String,
}

impl<'c, 'a> Side<'c, 'a> {
    /// A node that knows `cidr` as a peer's and counted its packets.
    pub(super) fn of(member: &'c Member, cases: &'c [Case<'a>], cidr: IpNet) -> Option<Self> {
        let case = cases.iter().find(|case| case.topology.peer(cidr).is_some())?;
        let peer = case.topology.peer(cidr)?;
        Some(Self { member, case, peer, traffic: peer.traffic? })
    }

    fn vxlan(&self) -> Option<&'a Vxlan> {
        self.case.topology.overlay?.vxlan.as_ref()
    }

    /// Packets of the other's pod network that came in at the uplink, by every count.
    pub(super) fn received(&self) -> u64 {
        let cidr = self.peer.cidr;
        let Some(traffic) = self.case.topology.traffic else { return 0 };
        let strangers = traffic.strangers.iter().filter(|it| cidr.contains(&it.inner_source));
        let flows = traffic.flows.iter().filter(|flow| cidr.contains(&flow.source));
        let by_flows: u64 = flows.map(|flow| flow.packets.wire_in).sum();
        let by_strangers: u64 = strangers.map(|it| it.packets).sum();
        self.traffic.packets.wire_in.max(by_flows).max(by_strangers)
    }

    /// Packets from this node's pod network to the other's that left, by their flows.
    fn sent_by_flows(&self) -> u64 {
        let Some(traffic) = self.case.topology.traffic else { return 0 };
        let goes_there = |source: IpAddr, destination: IpAddr| {
            self.case.topology.is_own(source) && self.peer.cidr.contains(&destination)
        };
        let flows = traffic.flows.iter().filter(|it| goes_there(it.source, it.destination));
        flows.map(|flow| flow.packets.wire_out).sum()
    }

    /// Packets that left while the other looked: those of each half of the window that the other's
    /// covers, of which `early` left in the first half and `late` in the second.
    fn sent_while(&self, other: &Member, (early, late): (u64, u64)) -> u64 {
        let (start, end) = self.member.window;
        let half = end.duration_since(start) / 2;
        let middle = start.saturating_add(half).unwrap_or(end);
        let is_covered = |from: Timestamp, to: Timestamp| {
            let both = together((from, to), other.window);
            both > 0.0 && both >= half.as_secs_f64() * (1.0 - SLACK)
        };
        let counted = [(is_covered(start, middle), early), (is_covered(middle, end), late)];
        counted.into_iter().filter(|(is_covered, _)| *is_covered).map(|(_, sent)| sent).sum()
    }

    /// Packets that left in each half of the window.
    fn sent(&self) -> (u64, u64) {
        let early = self.traffic.early.wire_out;
        (early, self.traffic.packets.wire_out.saturating_sub(early))
    }

    /// Large packets that left in each half of the window; `None` where they were not counted.
    fn sent_large(&self) -> Option<(u64, u64)> {
        let large = self.traffic.large?;
        Some((large.wire_out_early, large.wire_out.saturating_sub(large.wire_out_early)))
    }

    /// What its own uplinks dropped behind the tracer's program; `None` when that was not read.
    fn dropped_here(&self) -> Option<u64> {
        let statistics = self.case.evidence.statistics.as_ref()?;
        let is_uplink = |name: &str| self.case.topology.uplinks.iter().any(|it| it.name == name);
        let queues = statistics.queues.iter().filter(|it| is_uplink(&it.interface));
        let devices = statistics.devices.iter().filter(|it| is_uplink(&it.interface));
        let by_queues: u64 = queues.map(|it| it.dropped).sum();
        let by_devices: u64 = devices.map(|it| it.tx_dropped + it.tx_errors).sum();
        Some(by_queues + by_devices)
    }

    /// The uplink that has an address.
    fn uplink_with(&self, address: IpAddr) -> Option<&'a Link> {
        let tables = self.case.topology.tables?;
        let mut uplinks = self.case.topology.uplinks.iter().copied();
        uplinks.find(|link| tables.addresses_of(link.index).any(|it| it.address == address))
    }
}

/// What became of the packets that `from` sent to `to`.
pub(super) fn fate(from: &Side<'_, '_>, to: &Side<'_, '_>) -> Fate {
    let received = to.received();
    if received > 0 {
        return Fate::Arrived(received);
    }
    let Some((address, link)) = meeting(from, to) else { return Fate::Unknown(None) };
    let (a, b) = (&from.member.label, &to.member.label);
    if together(from.member.window, to.member.window) <= 0.0 {
        return Fate::Unknown(Some(format!(
            "whether packets of {a} get to {b}: their windows do not overlap ({} and {}); run both \
             checks at the same time",
            from.member.window.0, to.member.window.0
        )));
    }
    if let Some(mac) = wrong_mac(from, address, link) {
        return Fate::Unknown(Some(format!(
            "whether packets of {a} get to {b}: it sends to {address} at {mac}, which is not the MAC \
             of {} there",
            link.name
        )));
    }
    let (sent, dropped) = (from.sent_while(to.member, from.sent()), from.dropped_here());
    if sent.saturating_sub(dropped.unwrap_or_default()) < MANY || from.sent_by_flows() < MANY {
        return Fate::Unknown(None);
    }
    Fate::Lost(Lost {
        sent,
        is_queue_known: dropped.is_some(),
        together: together(from.member.window, to.member.window),
        address,
        interface: link.name.clone(),
    })
}

/// The large packets that `from` sent to `to`, where none of them came in, in both halves of the window,
/// and many smaller ones did.
pub(super) fn large(from: &Side<'_, '_>, to: &Side<'_, '_>) -> Option<Large> {
    let (_, link) = meeting(from, to)?;
    let (early, late) = from.sent_large()?;
    let halves = [(early, 0), (0, late)].map(|half| from.sent_while(to.member, half));
    let sent: u64 = halves.iter().sum();
    // What nobody feels has to show in both halves.
    let is_most = !halves.contains(&0)
        && sent.saturating_sub(from.dropped_here().unwrap_or_default()) >= MANY;
    let (large, smaller) = (to.traffic.large?.wire_in, to.traffic.packets.wire_in);
    (large == 0 && is_most && smaller >= MANY).then(|| Large {
        sent,
        smaller,
        together: together(from.member.window, to.member.window),
        interface: link.name.clone(),
    })
}

/// What a node says of the packets that the other misses an answer to.
pub(super) fn heard(far: &Side<'_, '_>) -> Option<String> {
    let (received, counts) = (far.received(), far.traffic.packets);
    (received > 0).then(|| {
        format!(
            "by the evidence of {}, {received} packets of {} came in there, {} came out of the \
             tunnel, {} went to pods, and {} left for here",
            far.member.label, far.peer.cidr, counts.overlay_in, counts.pod_in, counts.wire_out
        )
    })
}

/// The address to which `from` sends, and the uplink of `to` that has it: where both agree on it, on
/// port and VNI, and where every packet would have been counted.
fn meeting<'a>(from: &Side<'_, '_>, to: &Side<'_, 'a>) -> Option<(IpAddr, &'a Link)> {
    let (sender, receiver) = (from.vxlan()?, to.vxlan()?);
    let address = receiver.local?;
    let agree = (sender.vni, sender.port) == (receiver.vni, receiver.port)
        && from.peer.fdb?.destination == Some(address);
    let is_counted = from.case.observed(Stage::WireOut) && to.case.sees_all(Stage::WireIn);
    let link = to.uplink_with(address)?;
    (agree && is_counted).then_some((address, link))
}

/// The MAC by which `from` sends to a neighbour on its own network, where `link` has another: then
/// the frames may go to somebody else.
fn wrong_mac(from: &Side<'_, '_>, address: IpAddr, link: &Link) -> Option<String> {
    let uplinks: Vec<u32> = from.case.topology.uplinks.iter().map(|it| it.index).collect();
    let neighbours = from.case.topology.tables.iter().flat_map(|it| &it.neighbours);
    let mut known = neighbours
        .filter(|it| it.address == address && uplinks.contains(&it.ifindex))
        .filter_map(|it| it.mac);
    known.find(|mac| link.mac.is_some_and(|own| own != *mac)).map(|mac| mac.to_string())
}

/// For how long both windows were open, seconds.
fn together(one: (Timestamp, Timestamp), other: (Timestamp, Timestamp)) -> f64 {
    let both: SignedDuration = one.1.min(other.1).duration_since(one.0.max(other.0));
    both.as_secs_f64().max(0.0)
}
