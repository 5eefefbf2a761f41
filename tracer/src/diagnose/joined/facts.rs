//! What the nodes' evidence says of each other: a peers file made of evidence.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::member::{End, Member, owner_of};
use crate::{
    evidence::{Evidence, PeerIntent},
    topology::Topologies,
};

/// The evidence of each node with the others among the peers that it is told of, and what could not
/// be told.
pub(super) fn share(evidence: &[Evidence], members: &[Member]) -> (Vec<Evidence>, Vec<String>) {
    let mut unseen = Vec::new();
    let mut informed = evidence.to_vec();
    for (index, node) in informed.iter_mut().enumerate() {
        let own = &members[index];
        for (other, teller) in members.iter().enumerate().filter(|(other, _)| *other != index) {
            let reason = why_apart(own, teller);
            unseen.extend(reason.filter(|_| index < other));
            if !own.has_flannel || !own.can_be_held_against(teller) {
                continue;
            }
            for (cidr, end) in ends(members, teller) {
                match intent(&evidence[index], own, teller, (cidr, end)) {
                    Ok(peer) => tell(node, peer),
                    Err(line) => unseen.extend(line),
                }
            }
        }
    }
    unseen.extend(contested(members));
    (informed, unseen)
}

/// A node's pod CIDRs that no other has, each with its side of the tunnel.
fn ends<'m>(
    members: &'m [Member],
    teller: &'m Member,
) -> impl Iterator<Item = (IpNet, &'m End)> + 'm {
    let all = teller.ends.iter().flat_map(|end| end.cidrs.iter().map(move |cidr| (*cidr, end)));
    all.filter(|(cidr, _)| owner_of(members, *cidr).is_some())
}

fn intent(
    evidence: &Evidence,
    own: &Member,
    teller: &Member,
    (cidr, end): (IpNet, &End),
) -> Result<PeerIntent, Option<String>> {
    let node_ip = end.node_ip.filter(|ip| !own.has(*ip)).ok_or(None)?;
    let topologies = Topologies::of(evidence);
    let destination = topologies.peer(cidr).and_then(|peer| peer.fdb?.destination);
    Ok(PeerIntent {
        pod_cidr: cidr,
        node_ip: address(own, teller, node_ip, destination)?,
        vtep_mac: end.vtep_mac,
        name: Some(teller.name.clone()),
        source: format!("the evidence of {}", teller.label),
    })
}

/// The address by which a node has to reach another. One that the other has not, and that could not
/// be one of its network's, may be translated on the way: then nothing is told of it.
fn address(
    own: &Member,
    teller: &Member,
    node_ip: IpAddr,
    destination: Option<IpAddr>,
) -> Result<IpAddr, Option<String>> {
    match destination {
        Some(written) if written != node_ip && teller.has(written) => Ok(written),
        Some(written) if written != node_ip && !teller.is_beside(written) => Err(Some(format!(
            "whether {written}, by which {} reaches {}, is translated on the way: it is none of its \
             addresses",
            own.label, teller.label
        ))),
        _ => Ok(node_ip),
    }
}

/// Evidence knows better than a peers file, but what only overlaps is the operator's to mend.
fn tell(node: &mut Evidence, peer: PeerIntent) {
    let peers = &mut node.intent.peers;
    let overlaps = |it: &PeerIntent| {
        it.pod_cidr.contains(&peer.pod_cidr) || peer.pod_cidr.contains(&it.pod_cidr)
    };
    match peers.iter().position(overlaps) {
        Some(place) if peers[place].pod_cidr == peer.pod_cidr => peers[place] = peer,
        Some(_) => {}
        None => peers.push(peer),
    }
}

/// Why the evidence of two nodes is judged apart.
fn why_apart(one: &Member, other: &Member) -> Option<String> {
    let (a, b) = (&one.label, &other.label);
    if one.cluster != other.cluster {
        return Some(format!(
            "whether {a} and {b} are of one cluster: neither knows an address of the other's; they \
             were judged apart"
        ));
    }
    (!one.is_near(other)).then(|| {
        format!(
            "what {a} and {b} say of each other: their evidence is of {} and of {}, too far apart",
            one.window.0, other.window.0
        )
    })
}

/// Pod CIDRs that several nodes have.
fn contested(members: &[Member]) -> Vec<String> {
    let all = members.iter().flat_map(|it| &it.ends).flat_map(|end| end.cidrs.clone());
    let cidrs: BTreeSet<IpNet> = all.filter(|cidr| owner_of(members, *cidr).is_none()).collect();
    let line = |cidr: &IpNet| {
        let owners = members.iter().filter(|it| it.owns(*cidr));
        let owners: Vec<&str> = owners.map(|it| it.label.as_str()).collect();
        format!("whose {cidr} is: {} have it; nothing was joined for it", owners.join(" and "))
    };
    cidrs.iter().map(line).collect()
}
