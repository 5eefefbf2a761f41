//! `vxlan-port-taken-by-other-cni`: the overlay device is down and cannot come up, because something
//! else holds its UDP port.

use std::collections::BTreeSet;

use super::{
    case::{Case, PortHolder},
    finding::{Confidence, Severity},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::evidence::Link;

pub(super) const RULE: Rule = Rule {
    code: "vxlan-port-taken-by-other-cni",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Device,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let found = case.topology.overlay.zip(case.port_holder());
    Ruling::from(found.and_then(|(overlay, holder)| judged(case, overlay, &holder)))
}

fn judged(case: &Case<'_>, overlay: &Link, holder: &PortHolder<'_>) -> Option<Judged> {
    let name = &overlay.name;
    let port = overlay.vxlan.as_ref()?.port;
    let mut explains: BTreeSet<Effect> =
        case.topology.peers.iter().flat_map(|peer| Effect::everything_of(peer.cidr)).collect();
    explains.insert(Effect::StrayLeak(case.topology.family));
    let (who, proof, command) = match holder {
        PortHolder::Device(other) => (
            other.name.clone(),
            format!("{} is a VXLAN device of others, is up and uses UDP {port} too", other.name),
            format!("ip link delete {}", other.name),
        ),
        PortHolder::Socket(address) => (
            "another socket".to_owned(),
            format!("a UDP socket that is no VXLAN device's is bound to {address} port {port}"),
            format!("ss -lunp 'sport = :{port}'      (whose it is; stop that)"),
        ),
    };
    let mut repair = vec![command];
    repair.extend(remedy::restart_flannel(case.evidence));
    Some(Judged {
        finding: RULE.finding(
            format!("{name} cannot come up: {who} holds its UDP port {port}"),
            case.about_interface(name),
            case.before_start(),
            vec![format!("{name} exists and its IFF_UP flag is clear"), proof],
            repair,
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains,
        as_break: format!("device {name}"),
    })
}
