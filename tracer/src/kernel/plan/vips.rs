//! Where programs go for VIPs.

use std::net::IpAddr;

use tracer_common::names;

use crate::{
    evidence::{HookDirection, Intent, Tables},
    kernel::{VipPlan, plan::both},
    topology::{Topologies, vip_devices},
};

/// What to count of VIPs: those that are named, and those that were `learned`.
#[must_use]
pub fn plan_vips(
    topologies: &Topologies<'_>,
    tables: &Tables,
    intent: &Intent,
    learned: &[IpAddr],
) -> VipPlan {
    let mut vips = intent.vips.clone();
    vips.extend(learned.iter().filter(|it| !intent.vips.contains(it)));
    let devices = vip_devices(topologies, tables, &vips, &intent.vip_interface_options);
    let hooks = devices
        .into_iter()
        .flat_map(|link| both(link, names::VIP_OUT, names::VIP_IN, HookDirection::Egress))
        .collect();
    VipPlan { vips, hooks }
}
