//! VIPs whose pods lie behind a fault of the overlay (`vip-backend-unreachable-through-overlay`): no
//! finding of their own, but among what the fault breaks.
//!
//! kube-proxy sends on what clients send to a VIP, mostly in the node's own name: a flow from this node
//! to a peer's pod, of which the kernel's table of connections knows the address that was asked.

use std::{collections::BTreeSet, net::IpAddr};

use super::{case::Case, impact::hits, merge, merge::Cause};
use crate::evidence::{Evidence, Flow};

/// Adds to what a fault breaks the VIPs whose packets died of it.
pub(super) fn add_breaks(causes: &mut [Cause], cases: &[Case<'_>], evidence: &Evidence) {
    let vips = evidence.vips.iter().flat_map(|vips| &vips.entries);
    let vips: BTreeSet<IpAddr> = vips.map(|vip| vip.address).collect();
    let flows = evidence.traffic.iter().flat_map(|traffic| &traffic.flows);
    let of_vip = |flow: &Flow| flow.asked_as.map(|it| it.ip()).filter(|it| vips.contains(it));
    let of_vips: Vec<(IpAddr, &Flow)> =
        flows.filter_map(|flow| Some((of_vip(flow)?, flow))).collect();
    for cause in causes {
        let explains = &cause.judged.explains;
        let is_hit = |flow: &Flow| explains.iter().any(|effect| hits(cases, effect, flow));
        let hit: BTreeSet<IpAddr> =
            of_vips.iter().filter(|(_, flow)| is_hit(flow)).map(|(vip, _)| *vip).collect();
        let hit = hit.into_iter().map(|address| format!("vip {address}")).collect();
        merge::add_new(&mut cause.judged.finding.breaks, hit);
    }
}
