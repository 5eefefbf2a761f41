//! A kernel without VXLAN: the module is unloaded, and the list of the kernel's modules does not
//! name it. The kernel is that of all nodes and of the machine, so this is for guests of QEMU.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    flannel, kernel, netns,
    plan::{Node, Plan},
    poll::poll_until,
    script::{Script, run_all},
};

/// The module, and its name without its ending in modules.dep.
const MODULE: &str = "vxlan";
/// What the first process of a guest runs, and no other machine has.
const GUEST: &str = "/vm/suites";
/// How long the kernel may take to let go of the last device's socket.
const UNLOAD_WAIT: Duration = Duration::from_secs(10);

/// The module is gone until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it brings the module back"]
pub struct WithoutVxlan<'p> {
    plan: &'p Plan,
    /// modules.dep, and its text.
    list: PathBuf,
    text: String,
    is_healed: bool,
}

/// Whether this is a guest of `cargo xtask vm`, whose kernel is nobody else's.
#[must_use]
pub fn in_guest() -> bool {
    Path::new(GUEST).exists()
}

// === impl WithoutVxlan ===

impl<'p> WithoutVxlan<'p> {
    /// Removes the overlay devices of all nodes, the module, and its line in modules.dep.
    ///
    /// # Errors
    /// On a machine that is no guest, and when the kernel has VXLAN built in.
    pub fn inject(plan: &'p Plan) -> Result<Self> {
        if !in_guest() {
            bail!(
                "the module vxlan is this whole machine's: run this in a guest, with `cargo xtask \
                 vm --suite vxlan_module`"
            )
        }
        let list = Path::new("/lib/modules").join(kernel::release()).join("modules.dep");
        let text = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
        let others: Vec<&str> = text.lines().filter(|line| !names_module(line)).collect();
        ensure!(others.len() < text.lines().count(), "{MODULE} is no module of this kernel");
        let without = Self { plan, list, text: text.clone(), is_healed: false };
        let delete = |node: &Node| {
            Script::ip(&node.namespace, plan.overlays().iter().map(|it| format!("link del {it}")))
        };
        run_all(&plan.nodes.iter().map(delete).collect::<Vec<_>>())?;
        poll_until("the module to be unused", UNLOAD_WAIT, || modprobe(&["--remove", MODULE]))?;
        fs::write(&without.list, others.join("\n") + "\n").context("modules.dep")?;
        Ok(without)
    }

    /// Brings the module back, and the overlay devices.
    ///
    /// # Errors
    /// What failed.
    pub fn heal(mut self) -> Result<()> {
        self.is_healed = true;
        self.restore()
    }

    fn restore(&self) -> Result<()> {
        fs::write(&self.list, &self.text).context("modules.dep")?;
        modprobe(&[MODULE])?;
        for node in self.plan.nodes.iter().filter(|node| !self.has_overlay(node)) {
            for family in self.plan.families() {
                run_all(&flannel::restart(self.plan, node, *family))?;
            }
        }
        Ok(())
    }

    fn has_overlay(&self, node: &Node) -> bool {
        let mut show = netns::command_in(&node.namespace, "ip");
        let shown = show.args(["link", "show", &self.plan.overlays()[0]]).output();
        shown.is_ok_and(|shown| shown.status.success())
    }
}

impl Drop for WithoutVxlan<'_> {
    fn drop(&mut self) {
        if !self.is_healed
            && let Err(error) = self.restore()
        {
            eprintln!("the module {MODULE} could not be brought back: {error:#}");
        }
    }
}

fn modprobe(arguments: &[&str]) -> Result<()> {
    let output = Command::new("modprobe").args(arguments).output().context("modprobe")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "modprobe {}: {}", arguments.join(" "), said.trim());
    Ok(())
}

/// Whether a line of modules.dep is about the module itself, and not about one that needs it.
fn names_module(line: &str) -> bool {
    let path = line.split(':').next().unwrap_or(line);
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split_once(".ko").is_some_and(|(name, _)| name == MODULE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Shape;

    #[test]
    fn the_line_of_the_module_is_told_from_those_that_need_it() {
        assert!(names_module("kernel/drivers/net/vxlan/vxlan.ko.xz: kernel/net/udp_tunnel.ko.xz"));
        assert!(names_module("kernel/drivers/net/vxlan.ko:"));
        assert!(!names_module("kernel/net/vport-vxlan.ko: kernel/drivers/net/vxlan/vxlan.ko"));
    }

    #[test]
    fn the_module_of_a_machine_that_is_no_guest_is_left_alone() {
        if in_guest() {
            return;
        }
        let plan = Plan::draw(1, &Shape::default());
        let error = WithoutVxlan::inject(&plan).unwrap_err().to_string();
        assert!(error.contains("cargo xtask vm"), "{error}");
    }
}
