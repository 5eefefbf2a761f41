//! What is attached to the devices of a node, to be compared before and after.

use anyhow::{Context as _, Result, bail};

use crate::{
    bpf, netns,
    plan::{Node, Plan},
};

/// Every qdisc, and every filter and TCX program of bridge, overlay device and uplink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// As `tc` shows them.
    pub qdiscs: String,
    /// As `tc` shows them, a line each, behind device and side.
    pub filters: Vec<String>,
    /// A line for each hook that has programs: device, attach type, programs in their order.
    pub tcx: Vec<String>,
}

// === impl Attached ===

impl Attached {
    /// What is attached now.
    ///
    /// # Errors
    /// When tc or the kernel does not say.
    pub fn on(plan: &Plan, node: &Node) -> Result<Self> {
        let overlays = plan.overlays();
        let mut filters = Vec::new();
        for device in [&node.bridge, &node.uplink].into_iter().chain(&overlays) {
            for side in ["ingress", "egress"] {
                let shown = tc(&node.namespace, &["filter", "show", "dev", device, side])?;
                filters.extend(shown.lines().map(|line| format!("{device} {side}: {line}")));
            }
        }
        let qdiscs = tc(&node.namespace, &["qdisc", "show"])?;
        Ok(Self { qdiscs, filters, tcx: bpf::tcx_programs(&node.namespace)? })
    }

    /// Filters of the stages that carry the tracer's name.
    #[must_use]
    pub fn our_filters(&self) -> usize {
        self.all_our_filters().filter(|line| !line.contains(" name vip_")).count()
    }

    /// Filters for VIPs that carry the tracer's name.
    #[must_use]
    pub fn vip_filters(&self) -> usize {
        self.all_our_filters().filter(|line| line.contains(" name vip_")).count()
    }

    fn all_our_filters(&self) -> impl Iterator<Item = &String> {
        self.filters.iter().filter(|line| line.contains(" flannel_tracer "))
    }
}

fn tc(namespace: &str, arguments: &[&str]) -> Result<String> {
    let output = netns::command_in(namespace, "tc")
        .args(arguments)
        .output()
        .context("cannot start tc: run `cargo xtask setup`")?;
    let said = String::from_utf8_lossy(&output.stderr);
    // A device that is not there has nothing attached.
    if !output.status.success() && !said.contains("Cannot find device") {
        bail!("tc {arguments:?}: {said}")
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
