//! Peers whose tunnel has another setting than this node's: who of them is the odd one.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::Case,
    finding::Subject,
    rule::{Effect, Judged, Rule},
    sighted::{ENOUGH, is_heard, lasting, peers_at},
};
use crate::{
    evidence::{Sighting, Tables, Vxlan},
    topology::Peer,
};

/// A peer whose tunnel packets carry another setting, and how many came.
pub(super) struct Differing<'c, 'a> {
    /// The peer.
    pub(super) peer: &'c Peer<'a>,
    /// Its setting.
    pub(super) setting: u32,
    /// Packets that carry it.
    pub(super) packets: u64,
}

/// What is said of a setting.
pub(super) struct Words {
    /// Its name, `VNI`.
    pub(super) name: &'static str,
    /// This node's.
    pub(super) own: u32,
    /// Its key in flannel's net-conf.json.
    pub(super) key: &'static str,
}

/// The peers from which only packets of another setting come, by what `name` makes of a sight: the
/// sender's node address and the setting.
pub(super) fn differing<'c, 'a>(
    case: &'c Case<'a>,
    name: impl Fn(&Sighting) -> Option<(IpAddr, u32)>,
) -> Vec<Differing<'c, 'a>> {
    let mut all = Vec::new();
    for ((source, setting), seen) in lasting(case, ENOUGH, name) {
        let peers = peers_at(case, source).filter(|peer| !is_heard(peer));
        all.extend(peers.map(|peer| Differing { peer, setting, packets: seen.packets }));
    }
    all
}

/// The VXLAN devices of this node whose socket takes what comes from an address to a UDP port: not
/// flannel's of the other IP version, whose settings may be the right ones.
pub(super) fn hearing(tables: &Tables, source: IpAddr, port: u16) -> impl Iterator<Item = &Vxlan> {
    let all = tables.links.iter().filter_map(|link| link.vxlan.as_ref());
    all.filter(move |it| it.port == port && it.may_hear(source))
}

/// A finding for each peer; but where several peers agree on another setting and nobody has this
/// node's, it is this node that differs.
pub(super) fn judged(
    case: &Case<'_>,
    rule: &Rule,
    words: &Words,
    found: &[Differing<'_, '_>],
) -> Vec<Judged> {
    let Some(first) = found.first() else { return Vec::new() };
    let agree = found.iter().all(|it| it.setting == first.setting);
    let cidrs: BTreeSet<_> = found.iter().map(|it| it.peer.cidr).collect();
    let nodes: BTreeSet<_> = found.iter().map(|it| it.peer.node_ip).collect();
    let mut others = case.topology.peers.iter().filter(|peer| !cidrs.contains(&peer.cidr));
    if nodes.len() > 1 && agree && !others.any(is_heard) {
        return vec![of_node(case, rule, words, found, first.setting)];
    }
    found.iter().map(|differing| of_peer(case, rule, words, differing)).collect()
}

fn of_node(
    case: &Case<'_>,
    rule: &Rule,
    words: &Words,
    found: &[Differing<'_, '_>],
    setting: u32,
) -> Judged {
    let (device, Words { name, own, .. }) = (case.overlay_name(), words);
    let title = format!("{device} has {name} {own}, all its peers send {setting}");
    let subject = case.about_interface(&device);
    assemble(case, rule, words, (title, subject), found.iter())
}

fn of_peer(case: &Case<'_>, rule: &Rule, words: &Words, differing: &Differing<'_, '_>) -> Judged {
    let (peer, Words { name, own, .. }) = (differing.peer, words);
    let setting = differing.setting;
    let title = format!("{} sends {name} {setting}, this node has {own}", peer.label());
    assemble(case, rule, words, (title, case.about_peer(peer)), [differing].into_iter())
}

fn assemble<'f, 'c: 'f, 'a: 'c>(
    case: &Case<'_>,
    rule: &Rule,
    words: &Words,
    (title, subject): (String, Subject),
    found: impl Iterator<Item = &'f Differing<'c, 'a>> + Clone,
) -> Judged {
    let Words { name, own, key } = words;
    let device = case.overlay_name();
    let seconds = case.evidence.window.seconds;
    let mut evidence = vec![format!("{device} has {name} {own}, and nothing with it came")];
    evidence.extend(found.clone().map(|it| {
        let (packets, peer, setting) = (it.packets, it.peer.label(), it.setting);
        format!("{packets} VXLAN packets of {peer} came with {name} {setting} in {seconds:.1} s")
    }));
    Judged {
        as_break: format!("{name} of {}", subject.key),
        finding: rule.finding(
            title,
            subject,
            case.in_window(),
            evidence,
            vec![
                format!("ip -d link show {device}      (on all nodes: compare {name})"),
                format!(
                    "kubectl -n kube-flannel get configmap kube-flannel-cfg -o yaml      (one {key} \
                     for all nodes; then restart flannel where it differs)"
                ),
            ],
        ),
        rank: rule.rank,
        supports: BTreeSet::new(),
        explains: found.flat_map(|it| Effect::between_tunnel_ends(it.peer.cidr)).collect(),
    }
}
