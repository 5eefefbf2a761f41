//! `flannel-address-missing`: flannel's VXLAN device is up and has lost its address.
//!
//! With the last IPv4 address the kernel removes the device's routes. Of IPv6 the link-local address
//! is left and the routes stay: there this is no fault.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::Case,
    finding::{Confidence, Severity},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::{Family, Link},
    topology::LifeSign,
};

pub(super) const RULE: Rule = Rule {
    code: "flannel-address-missing",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Device,
    judge,
};

/// What shows that the device must have an address.
enum Proof {
    /// subnet.env gives it this one.
    SubnetEnv(IpAddr, String),
    /// A peer lives, by this sign.
    Peer(String),
}

fn judge(case: &Case<'_>) -> Ruling {
    let Some(overlay) = case.topology.overlay.filter(|overlay| overlay.up) else {
        return Ruling::default();
    };
    if case.topology.family == Family::V6 {
        return Ruling::default();
    }
    let has_address = case.topology.overlay_addresses().next().is_some();
    if has_address || case.has_overlay_routes() || is_unused(case) {
        return Ruling::default();
    }
    let proof = by_subnet_env(case, overlay).or_else(|| by_peer(case));
    Ruling::from(proof.map(|proof| judged(case, overlay, &proof)))
}

/// All peers are reached by their node addresses (DirectRouting).
fn is_unused(case: &Case<'_>) -> bool {
    let peers = &case.topology.peers;
    !peers.is_empty() && peers.iter().all(|peer| peer.direct.is_some())
}

/// The network address of the subnet of the tunnel's family: that is the device's.
fn by_subnet_env(case: &Case<'_>, overlay: &Link) -> Option<Proof> {
    let env = case.evidence.intent.subnet_env.as_ref()?;
    let local = overlay.vxlan.as_ref().and_then(|vxlan| vxlan.local);
    let is_of_tunnel = |address: IpAddr| local.is_none_or(|it| it.is_ipv4() == address.is_ipv4());
    let subnet = env.subnets.iter().find(|subnet| is_of_tunnel(subnet.addr()))?;
    Some(Proof::SubnetEnv(subnet.network(), env.path.display().to_string()))
}

fn by_peer(case: &Case<'_>) -> Option<Proof> {
    case.topology.peers.iter().find_map(|peer| match peer.intent {
        Some(intent) => Some(Proof::Peer(format!("{} names {}", intent.source, peer.label()))),
        None if peer.has(LifeSign::Vxlan) => {
            Some(Proof::Peer(format!("VXLAN packets came from {}", peer.label())))
        }
        None => None,
    })
}

fn judged(case: &Case<'_>, overlay: &Link, proof: &Proof) -> Judged {
    let name = &overlay.name;
    let of_peers = case.topology.peers.iter().flat_map(|peer| Effect::everything_of(peer.cidr));
    let note = "flannel does not restore its address and routes by itself; keep NetworkManager and \
                systemd-networkd off flannel*";
    let title = match proof {
        Proof::SubnetEnv(address, _) => format!("{name} lost its address {address}"),
        Proof::Peer(_) => format!("{name} lost its address"),
    };
    Judged {
        finding: RULE.finding(
            format!("{title}, and with it all routes to the peers"),
            case.about_interface(name),
            case.before_start(),
            evidence(case, name, proof),
            remedy::restart_with_note(case.evidence, note),
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: of_peers.chain([Effect::StrayLeak(case.topology.family)]).collect(),
        as_break: format!("address of {name}"),
    }
}

fn evidence(case: &Case<'_>, name: &str, proof: &Proof) -> Vec<String> {
    let fdb = case.topology.overlay_fdb().count();
    let shown = match proof {
        Proof::SubnetEnv(address, path) => format!("{path} gives it {address}"),
        Proof::Peer(sign) => sign.clone(),
    };
    vec![format!("{name} is up and has no address and no route; {fdb} FDB entries are left"), shown]
}
