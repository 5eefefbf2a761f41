//! A program that another network plugin has left on the overlay device drops what comes out of the
//! tunnel.
//!
//! It is one of the old kind (cBPF), which `tc` takes without a compiler: its only instruction returns
//! TC_ACT_SHOT (include/uapi/linux/pkt_cls.h). Its preference lies between those of the tracer's
//! filters.

use super::{Fault, PLAIN, Reach, Subject};
use crate::{
    plan::{Plan, Site},
    script::{Script, Tool},
};

const PREFERENCE: u32 = 700;
/// The number of instructions, and `return 2`.
const SHOT: &str = "1,6 0 0 2,";

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "bpf-or-tc-drops",
    code: "bpf-or-tc-drops",
    summary: "a tc program on the overlay device drops what comes out of the tunnel",
    subject: Subject::Overlay,
    reach: Reach::AllPeers,
    // What the node's pods send still comes out of the tunnel there.
    there: &["unexplained-loss", "tunnel-one-way"],
    by_drops: true,
    breaks: |plan, site| {
        let overlay = plan.overlay(site.family);
        let filter = format!(
            "filter add dev {overlay} ingress pref {PREFERENCE} protocol all bpf direct-action \
             bytecode \"{SHOT}\""
        );
        vec![tc(plan, site, [format!("qdisc add dev {overlay} clsact"), filter])]
    },
    heals: |plan, site| {
        vec![tc(plan, site, [format!("qdisc del dev {} clsact", plan.overlay(site.family))])]
    },
    ..PLAIN
}];

fn tc<const N: usize>(plan: &Plan, site: Site, lines: [String; N]) -> Script {
    Script::new(Tool::Tc, Some(&plan.nodes[site.victim].namespace), lines)
}
