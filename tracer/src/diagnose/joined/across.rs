//! One fault, one finding, over several nodes: what a node feels of another is explained by what that
//! one proves, or by the way between them.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::{
    large_lost::{self, LargeLost},
    member::{Member, owner_of},
    pods, return_route_missing, underlay_drops_vxlan,
    way::{Side, heard},
};
use crate::{
    diagnose::{
        finding::Finding,
        judgement::Judgement,
        merge::{self, Cause},
        rule::{Effect, Judged, Rank},
        tunnel_fragments_outer, underlay_neighbour_wrong_mac, unexplained_loss,
    },
    evidence::{Family, StagePair},
};

/// Findings that name no cause, or one that the other end can disprove: it may be the network.
const OPEN: [&str; 4] = [
    "tunnel-one-way",
    "unexplained-loss",
    "peer-node-silent",
    underlay_neighbour_wrong_mac::RULE.code,
];
/// What a node proves of itself, and by which code others tell the same.
const SAME: [(&str, &str); 3] = [
    ("flannel-mac-rewritten", "peer-vtep-mac-changed"),
    ("flannel-link-recreated-empty", "peer-vtep-mac-changed"),
    ("vtep-source-address-lost", "node-ip-changed-peers-stale"),
];

/// What both of two nodes tell of each other, though it is one fault.
const MUTUAL: [&str; 3] =
    ["peer-node-unreachable-l2", "peer-vtep-mac-changed", "duplicate-vtep-mac"];

/// A cause of one node, with what other nodes feel of it.
pub(super) struct Told {
    /// Where it was found.
    pub(super) node: usize,
    /// What it is.
    pub(super) cause: Cause,
    /// What was found elsewhere and is explained by it.
    pub(super) felt: Vec<(usize, Cause)>,
}

/// A finding and the node where it was found.
#[derive(Clone, Copy)]
pub(super) struct At<'t> {
    /// The node.
    pub(super) member: &'t Member,
    /// The finding.
    pub(super) finding: &'t Finding,
}

/// Takes the causes of all nodes and leaves one for each fault, in the order in which they are told;
/// and what could not be told.
pub(super) fn merge(
    members: &[Member],
    judgements: &mut [Judgement<'_>],
) -> (Vec<Told>, Vec<String>) {
    let mut causes = Vec::new();
    for (node, judgement) in judgements.iter_mut().enumerate() {
        causes.extend(std::mem::take(&mut judgement.causes).into_iter().map(|it| (node, it)));
    }
    let by = vec![By::Nothing; causes.len()];
    let mut merger = Merger { members, judgements, causes, by, unseen: Vec::new() };
    (0..merger.causes.len()).for_each(|place| merger.explain_by_cause(place));
    merger.add_large_lost();
    (0..merger.causes.len()).for_each(|place| merger.explain_by_the_way(place));
    merger.finish()
}

/// What explains a cause.
#[derive(Clone)]
enum By {
    /// Nothing: it is told as it is.
    Nothing,
    /// The cause at another place.
    Cause(usize),
    /// Both nodes together: this is told instead.
    Both(Box<Finding>),
}

struct Merger<'m, 'a> {
    members: &'m [Member],
    judgements: &'m [Judgement<'a>],
    causes: Vec<(usize, Cause)>,
    by: Vec<By>,
    unseen: Vec<String>,
}

impl Merger<'_, '_> {
    fn explain_by_cause(&mut self, place: usize) {
        let Some((cidr, other)) = self.felt(place) else { return };
        let places = 0..self.causes.len();
        let of_other = places.filter(|it| self.causes[*it].0 == other);
        let Some(proof) = of_other.max_by_key(|it| self.strength(*it, place)) else { return };
        let Some(_) = self.strength(proof, place) else { return };
        let (felt, proven) = (self.at(place), self.at(proof));
        self.by[place] = if return_route_missing::is_it(felt, proven) {
            match self.told_before(place, return_route_missing::RULE.code) {
                Some(first) => By::Cause(first),
                None => self.return_route(felt, proven, cidr),
            }
        } else {
            By::Cause(proof)
        };
    }

    fn return_route(&self, felt: At<'_>, proven: At<'_>, cidr: IpNet) -> By {
        let peers = self.judgements.iter().flat_map(|it| &it.cases);
        let peer = peers.filter_map(|case| case.topology.peer(cidr)).max_by_key(|peer| peer.name);
        peer.map_or(By::Nothing, |peer| {
            By::Both(Box::new(return_route_missing::finding(felt, &peer.label(), proven)))
        })
    }

    /// What the counts of two nodes say of the large packets between them, where no probe has shown it.
    fn add_large_lost(&mut self) {
        for LargeLost { from, to, cause } in large_lost::find(self.members, self.judgements) {
            let finding = &cause.judged.finding;
            let is_same = |(at, known): &(usize, Cause)| {
                let known = &known.judged.finding;
                let is_its = *at == from.0 && known.subject.key == finding.subject.key;
                is_its && large_lost::CODES.contains(&known.code)
            };
            if self.causes.iter().any(is_same) {
                continue;
            }
            let by = self.narrow_end(from, to);
            self.causes.push((from.0, cause));
            self.by.push(by.map_or(By::Nothing, By::Cause));
            self.explain_loss(from.0, to.1, self.causes.len() - 1);
        }
    }

    /// Where it is told already that large packets are lost between two nodes: the receiver tells that its
    /// own uplink is too small, or the same of the way back was found before.
    fn narrow_end(&self, from: (usize, IpNet), to: (usize, IpNet)) -> Option<usize> {
        self.causes.iter().position(|(node, known)| {
            let (code, subject) = (known.judged.finding.code, &known.judged.finding.subject);
            let is_way_back = large_lost::CODES.contains(&code) && subject.cidr == Some(from.1);
            *node == to.0 && (is_way_back || code == tunnel_fragments_outer::RULE.code)
        })
    }

    /// What a node feels of another without a cause.
    fn explain_loss(&mut self, node: usize, cidr: IpNet, by: usize) {
        for place in 0..by {
            let (at, cause) = &self.causes[place];
            let is_its = *at == node && self.felt(place).is_some_and(|(of, _)| of == cidr);
            let is_loss = cause.judged.finding.code == unexplained_loss::RULE.code;
            if is_its && is_loss && self.is_open(place) {
                self.by[place] = By::Cause(by);
            }
        }
    }

    fn explain_by_the_way(&mut self, place: usize) {
        let Some((cidr, other)) = self.felt(place).filter(|_| self.is_open(place)) else { return };
        let (node, _) = &self.causes[place];
        let Some(back) = self.own_cidr(*node, Family::of_net(cidr)) else { return };
        let (members, judgements) = (self.members, self.judgements);
        let side = |node: usize, cidr| Side::of(&members[node], &judgements[node].cases, cidr);
        let node = *node;
        let Some((own, far)) = side(node, cidr).zip(side(other, back)) else { return };
        match underlay_drops_vxlan::finding(self.at(place).finding, &own, &far) {
            Ok(finding) => {
                self.by[place] = By::Both(Box::new(finding));
                self.explain_pair((node, cidr), (other, back), place);
            }
            Err(reason) => {
                let finding = &mut self.causes[place].1.judged.finding;
                if finding.code != underlay_neighbour_wrong_mac::RULE.code {
                    self.unseen.extend(reason);
                } else if far.received() > 0 {
                    *finding = underlay_neighbour_wrong_mac::disproved(finding);
                }
                finding.evidence.extend(heard(&far));
            }
        }
    }

    /// What else is felt between two nodes.
    fn explain_pair(&mut self, one: (usize, IpNet), other: (usize, IpNet), by: usize) {
        for place in 0..self.causes.len() {
            let Some((cidr, _)) = self.felt(place) else { continue };
            let is_theirs = [one, other].contains(&(self.causes[place].0, cidr));
            if is_theirs && self.is_open(place) {
                self.by[place] = By::Cause(by);
            }
        }
    }

    /// The pod CIDR of another node, and that node, for a cause that is only felt of that one.
    fn felt(&self, place: usize) -> Option<(IpNet, usize)> {
        let (node, cause) = &self.causes[place];
        let cidr = felt_cidr(&cause.judged)?;
        let other = owner_of(self.members, cidr).filter(|other| other != node)?;
        self.members[*node].can_be_held_against(&self.members[other]).then_some((cidr, other))
    }

    /// How well the cause at `proof` explains that at `place`; `None` when it does not.
    fn strength(&self, proof: usize, place: usize) -> Option<Rank> {
        let ((other, by), (node, one)) = (&self.causes[proof], &self.causes[place]);
        let (by, one, own) = (&by.judged, &one.judged, &self.members[*node]);
        let is_same = SAME.contains(&(by.finding.code, one.finding.code));
        // Of two that tell the same of each other the first is told.
        let is_told_before = other < node && is_mutual(by, one, own);
        let is_felt = is_stronger(by, one)
            && rests_on(one).is_some_and(|cidr| {
                stops(by, one, own, cidr) || self.is_of_pods(proof, place, cidr)
            });
        let explains = is_told_before || is_same || is_felt;
        explains.then_some(by.rank)
    }

    /// Whether the cause at `proof`, with others of its node, proves of every pod that was asked in vain
    /// that packets are lost there.
    fn is_of_pods(&self, proof: usize, place: usize, cidr: IpNet) -> bool {
        let ((other, by), (node, one)) = (&self.causes[proof], &self.causes[place]);
        if !pods::is_of_single_flows(&one.judged) {
            return false;
        }
        let beside = self.causes.iter().filter(|(node, _)| node == other).map(|(_, it)| &it.judged);
        let beside = beside.filter(|it| is_stronger(it, &one.judged));
        let lost: BTreeSet<IpAddr> = beside.flat_map(pods::lost_at).collect();
        let asked = pods::asked_in_vain(&self.judgements[*node].cases, cidr);
        asked.is_subset(&lost) && pods::lost_at(&by.judged).any(|pod| asked.contains(&pod))
    }

    fn is_open(&self, place: usize) -> bool {
        let code = self.causes[place].1.judged.finding.code;
        matches!(self.by[place], By::Nothing) && OPEN.contains(&code)
    }

    /// Where the same node tells this code of the same peer already.
    fn told_before(&self, place: usize, code: &str) -> Option<usize> {
        let is_told = |by: &By| matches!(by, By::Both(finding) if finding.code == code);
        let mut before = (0..place).filter(|it| is_told(&self.by[*it]));
        before.find(|it| {
            self.causes[*it].0 == self.causes[place].0 && self.felt(*it) == self.felt(place)
        })
    }

    fn own_cidr(&self, node: usize, family: Family) -> Option<IpNet> {
        let ends = self.members[node].ends.iter().flat_map(|end| &end.cidrs);
        ends.copied().find(|cidr| Family::of_net(*cidr) == family)
    }

    fn at(&self, place: usize) -> At<'_> {
        let (node, cause) = &self.causes[place];
        At { member: &self.members[*node], finding: &cause.judged.finding }
    }

    /// The place whose cause is told for that at `place`.
    fn root(&self, mut place: usize) -> usize {
        // No chain is longer than all of them.
        for _ in 0..self.by.len() {
            let By::Cause(by) = self.by[place] else { break };
            place = by;
        }
        place
    }

    fn finish(self) -> (Vec<Told>, Vec<String>) {
        let mut told: Vec<Told> = Vec::new();
        for (place, (node, cause)) in self.causes.iter().enumerate() {
            let finding = match &self.by[place] {
                By::Cause(_) => continue,
                By::Nothing => cause.judged.finding.clone(),
                By::Both(finding) => *finding.clone(),
            };
            let judged = Judged { finding, ..cause.judged.clone() };
            let mut cause = Cause { judged, ..cause.clone() };
            let felt = self.felt_by(place);
            cause.judged.finding.breaks.extend(felt.iter().map(|(node, felt)| {
                format!("{} at {}", felt.judged.as_break, self.members[*node].label)
            }));
            told.push(Told { node: *node, cause, felt });
        }
        told.sort_by_key(|told| (merge::order(&told.cause), told.node));
        (told, self.unseen)
    }

    fn felt_by(&self, root: usize) -> Vec<(usize, Cause)> {
        let all = self.causes.iter().enumerate();
        let felt = all.filter(|(place, _)| *place != root && self.root(*place) == root);
        felt.map(|(_, cause)| cause.clone()).collect()
    }
}

fn is_stronger(by: &Judged, one: &Judged) -> bool {
    by.rank > one.rank && by.finding.severity >= one.finding.severity
}

/// The pod CIDR of another node, for what that node may tell too.
fn felt_cidr(judged: &Judged) -> Option<IpNet> {
    let code = judged.finding.code;
    let is_told_there = SAME.iter().any(|(_, same)| *same == code) || MUTUAL.contains(&code);
    rests_on(judged).or_else(|| judged.finding.subject.cidr.filter(|_| is_told_there))
}

/// The pod CIDR of another node, for what rests on nothing but that it does not answer.
fn rests_on(judged: &Judged) -> Option<IpNet> {
    let cidr = judged.supports.first()?.cidr()?;
    let is_all = judged.supports.iter().all(|it| is_silence(it) && it.cidr() == Some(cidr));
    is_all.then_some(cidr)
}

const fn is_silence(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Silence(_)
            | Effect::NoAnswer(_)
            | Effect::Refused(_)
            | Effect::Loss(_, StagePair::WireToPeer)
    )
}

/// Whether a fault of the other, whose pod CIDR is `cidr`, keeps it from hearing this node or from
/// answering it.
fn stops(by: &Judged, one: &Judged, own: &Member, cidr: IpNet) -> bool {
    let family = Family::of_net(cidr);
    let is_own = |cidr: IpNet| own.owns(cidr) && Family::of_net(cidr) == family;
    if one.supports.iter().any(|it| matches!(it, Effect::NoAnswer(_))) {
        return by.explains.iter().any(|it| matches!(it, Effect::NoAnswer(cidr) if is_own(*cidr)));
    }
    by.explains.iter().filter(|effect| !is_silence(effect)).any(|effect| match effect {
        Effect::NoOverlay(other) => *other == family,
        other => other.cidr().is_some_and(is_own),
    })
}

/// Two nodes that tell the same of each other.
fn is_mutual(by: &Judged, one: &Judged, own: &Member) -> bool {
    let is_about = by.finding.subject.cidr.is_some_and(|cidr| own.owns(cidr));
    by.finding.code == one.finding.code && MUTUAL.contains(&by.finding.code) && is_about
}
