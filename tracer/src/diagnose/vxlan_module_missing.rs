//! `vxlan-module-missing`: this kernel can make no VXLAN device.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::ModuleState,
    topology::{other_backend, signs_of_flannel},
};

pub(super) const RULE: Rule = Rule {
    code: "vxlan-module-missing",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Kernel,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let Some(tables) = case.topology.tables else { return Ruling::default() };
    let has_vxlan = tables.links.iter().any(|link| link.vxlan.is_some());
    if case.evidence.node.vxlan != ModuleState::Missing || has_vxlan {
        return Ruling::default();
    }
    let signs = signs_of_flannel(tables, case.topology.intent);
    if signs.is_empty() || other_backend(tables, case.topology.intent).is_some() {
        return Ruling::default();
    }
    Ruling::from(vec![judged(case, &signs)])
}

fn judged(case: &Case<'_>, signs: &[String]) -> Judged {
    let kernel = &case.evidence.node.kernel;
    let name = case.overlay_name();
    let mut explains = BTreeSet::from([
        Effect::NoOverlay(case.topology.family),
        Effect::StrayLeak(case.topology.family),
    ]);
    explains.extend(case.topology.peers.iter().flat_map(|peer| Effect::everything_of(peer.cidr)));
    let mut repair = vec![
        "(install the kernel's vxlan module: on Ubuntu for Raspberry Pi `apt-get install \
         linux-modules-extra-raspi`, elsewhere the package with the modules of this kernel)"
            .to_owned(),
        "modprobe vxlan".to_owned(),
    ];
    repair.extend(remedy::restart_flannel(case.evidence));
    Judged {
        finding: RULE.finding(
            "This kernel has no VXLAN: flannel cannot make its device".to_owned(),
            case.about_interface(&name),
            case.before_start(),
            vec![
                "this node has no VXLAN device".to_owned(),
                format!(
                    "vxlan is neither loaded (/sys/module) nor among the modules of {kernel} \
                     (modules.dep, modules.builtin)"
                ),
                format!("it is a flannel node: {}", signs.join("; ")),
            ],
            repair,
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains,
        as_break: "the kernel's vxlan module".to_owned(),
    }
}
