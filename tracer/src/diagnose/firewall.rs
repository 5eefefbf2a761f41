//! The words that rules of firewalls share: what was dropped, where, and what shows the rule.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    case::Case,
    dropped::Dropped,
    finding::{Confidence, Finding, Subject},
    merge::add_new,
    rule::{Rank, Rule},
    sighted::{UDP, tunnel},
    unread::{self, is_unread},
};
use crate::{
    evidence::{Drop, DropFlow, Platform, StagePair},
    topology::Peer,
};

/// How many flows, or peers, are named.
const NAMED: usize = 3;

/// What a firewall, or another dropper that is told in the same words, drops of a peer's packets
/// between two stages.
pub(super) struct Hit<'c, 'a> {
    /// Whose packets.
    pub(super) peer: &'c Peer<'a>,
    /// Where they are lost.
    pub(super) pair: StagePair,
    /// What was dropped.
    pub(super) dropped: Dropped<'a>,
}

// === impl Hit ===

impl Hit<'_, '_> {
    /// The drops, and what the stages say of the same packets.
    pub(super) fn lines(&self, case: &Case<'_>, what: &str) -> Vec<String> {
        let Self { peer, pair, dropped } = self;
        let whose = match is_unread(case) {
            true => "(whose they were cannot be read)".to_owned(),
            false => format!("{what} {}", peer.label()),
        };
        let mut lines = vec![format!(
            "{} packets {whose} in {:.1} s: {}",
            dropped.packets,
            case.evidence.window.seconds,
            dropped.by()
        )];
        let seen = peer.traffic.filter(|it| it.lost.at(*pair) > 0).zip(pair.next());
        lines.extend(seen.map(|(traffic, next)| {
            format!(
                "{} of {} packets of {} seen at {} did not reach {}",
                traffic.lost.at(*pair),
                traffic.packets.at(pair.last_seen()),
                peer.label(),
                pair.last_seen().name(),
                next.name()
            )
        }));
        lines
    }
}

/// A finding about what is hit: a likely one where nobody can read whose packets were dropped.
pub(super) fn finding(
    case: &Case<'_>,
    rule: &Rule,
    (title, subject): (String, Subject),
    evidence: Vec<String>,
    repair: Vec<String>,
) -> (Finding, Rank) {
    let mut lines = Vec::new();
    add_new(&mut lines, evidence);
    let mut finding = rule.finding(title, subject, case.in_window(), lines, repair);
    if is_unread(case) {
        finding.confidence = Confidence::Likely;
        return (finding, unread::RANK);
    }
    (finding, rule.rank)
}

/// What is hit, as the subject of one finding and in words: a peer, or the tunnel to several.
pub(super) fn hit_by(case: &Case<'_>, hits: &[Hit<'_, '_>]) -> Option<(Subject, String)> {
    let first = hits.first()?.peer;
    let peers: BTreeSet<_> = hits.iter().map(|hit| hit.peer.cidr).collect();
    Some(match peers.len() {
        1 => (case.about_peer(first), first.label()),
        several => (case.about_interface(&case.overlay_name()), format!("{several} peers' pods")),
    })
}

/// The dropped flows, without the port that is another each time: those of most packets first.
pub(super) fn flows(drops: &[&Drop]) -> Vec<String> {
    let mut flows = BTreeMap::<String, u64>::new();
    for (flow, drop) in drops.iter().filter_map(|drop| Some((drop.flow?, drop))) {
        *flows.entry(flow_words(&flow)).or_default() += drop.packets;
    }
    let mut flows: Vec<(String, u64)> = flows.into_iter().collect();
    flows.sort_by_key(|(_, packets)| std::cmp::Reverse(*packets));
    let line = |(flow, packets)| format!("dropped: {flow} ({packets} packets)");
    flows.into_iter().take(NAMED).map(line).collect()
}

/// Source, destination and what it is, without the port that is another each time.
pub(super) fn flow_words(flow: &DropFlow) -> String {
    let DropFlow { source, destination, .. } = flow;
    format!("{source} to {destination}, {}", service(flow))
}

/// The protocol, with the port where it has one.
pub(super) fn service(flow: &DropFlow) -> String {
    match flow.protocol {
        1 | 58 => "ICMP".to_owned(),
        6 => format!("TCP {}", flow.destination_port),
        UDP => format!("UDP {}", flow.destination_port),
        other => format!("IP protocol {other}"),
    }
}

/// The tunnel's port in words.
pub(super) fn tunnel_port(case: &Case<'_>) -> String {
    tunnel(case).map_or_else(|| "the tunnel's port".to_owned(), |it| format!("UDP {}", it.port))
}

/// The commands that show a packet filter's rules; `what` says what to look for.
pub(super) fn show_rules(case: &Case<'_>, what: &str) -> Vec<String> {
    let node = &case.evidence.node;
    if node.platform == Platform::Talos {
        return vec![format!(
            "talosctl --nodes {} get nftableschain -o yaml      ({what})",
            node.name
        )];
    }
    vec![
        format!("nft list ruleset      ({what})"),
        "iptables-save; ip6tables-save      (and iptables-legacy-save, whose rules nft does not list)"
            .to_owned(),
    ]
}

/// The commands that allow the tunnel's port.
pub(super) fn allow_tunnel(case: &Case<'_>) -> String {
    let Some(port) = tunnel(case).map(|it| it.port) else { return String::new() };
    match case.evidence.node.platform {
        Platform::Talos => format!(
            "(its ingress firewall is in NetworkRuleConfig documents of the machine config: one has \
             to allow UDP {port} from the nodes)"
        ),
        _ => format!(
            "ufw allow {port}/udp      (where ufw runs; firewalld: firewall-cmd --permanent \
             --add-port={port}/udp && firewall-cmd --reload)"
        ),
    }
}

/// A line for what network policies may forbid on this node, where it has any; `what` is asked.
pub(super) fn perhaps_forbidden(case: &Case<'_>, what: impl FnOnce() -> String) -> Option<String> {
    forbidden_by(case.evidence.intent.policy_netfilter.first(), what)
}

/// The same where policies without a chain on this node count too: those of another node's pods, and
/// those that are no chains.
pub(super) fn perhaps_forbidden_anywhere(
    case: &Case<'_>,
    what: impl FnOnce() -> String,
) -> Option<String> {
    let intent = &case.evidence.intent;
    forbidden_by(intent.policy_netfilter.first().or(intent.policy_elsewhere.first()), what)
}

fn forbidden_by(policy: Option<&String>, what: impl FnOnce() -> String) -> Option<String> {
    let policy = policy?;
    Some(format!("{}: network policies, as {policy} here, may forbid them", what()))
}
