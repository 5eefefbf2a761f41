//! The state directory of the lab and the lock that keeps it the only one on the machine.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::{
    plan::{Family, Node, Plan},
    poll::poll_until,
    script::Script,
};

const DIRECTORY: &str = "/run/flannel-tracer-lab";
const LOCK: &str = "/run/lock/flannel-tracer-lab";

/// What is remembered of a lab that was left running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// How it was built.
    pub plan: Plan,
    /// What heals the faults that were injected since, the latest first.
    pub heal: Vec<Script>,
}

/// The lock of the lab; given back on drop.
#[derive(Debug)]
pub struct Lock {
    /// Closing the file gives the lock back.
    _file: Flock<File>,
}

/// Takes the lock, waiting at most `deadline` for another lab to end.
///
/// # Errors
/// When another lab holds it all the time; without root.
pub fn lock(deadline: Duration) -> Result<Lock> {
    poll_until("another lab on this machine to end", deadline, try_lock)
}

/// Takes the lock, if it is free now.
pub(crate) fn try_lock() -> Result<Lock> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(LOCK)
        .with_context(|| format!("cannot open {LOCK}: the lab needs root"))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => Ok(Lock { _file: file }),
        Err((_, errno)) => {
            Err(anyhow!(errno)).with_context(|| format!("another lab holds {LOCK} (see `lslocks`)"))
        }
    }
}

/// Writes what is remembered of a lab that is left running.
///
/// # Errors
/// When the directory cannot be written.
pub fn keep(kept: &Kept) -> Result<()> {
    let text = serde_json::to_string_pretty(kept).context("the plan as JSON")?;
    write("state.json", &text).map(drop)
}

/// The lab that was left running, if there is one.
///
/// # Errors
/// When its description cannot be read.
pub fn kept() -> Result<Option<Kept>> {
    let path = file("state.json");
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let advice = "the lab's state is unreadable: run `cargo xtask lab down`";
    serde_json::from_str(&text).context(advice).map(Some)
}

/// Writes subnet.env and the peers file of every member of the cluster; only members are peers.
///
/// # Errors
/// When the directory cannot be written.
pub fn write_intent(plan: &Plan, members: &[usize]) -> Result<()> {
    for node in members.iter().map(|member| &plan.nodes[*member]) {
        write(&format!("{}/subnet.env", node.name), &subnet_env(plan, node))?;
        write(&format!("{}/peers", node.name), &peers_file(plan, node, members))?;
    }
    Ok(())
}

/// A node's subnet.env, as flannel writes it.
#[must_use]
pub fn subnet_env_path(node: &Node) -> PathBuf {
    file(&format!("{}/subnet.env", node.name))
}

/// A node's peers file.
#[must_use]
pub fn peers_path(node: &Node) -> PathBuf {
    file(&format!("{}/peers", node.name))
}

/// A file below the state directory.
#[must_use]
pub fn file(name: &str) -> PathBuf {
    PathBuf::from(DIRECTORY).join(name)
}

/// A program under another name below the state directory; it may be there already.
pub(crate) fn link(program: &Path, name: &str) -> Result<PathBuf> {
    let link = file(name);
    match std::os::unix::fs::symlink(program, &link) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| link.display().to_string())
        }
        _ => Ok(link),
    }
}

/// Removes the state directory.
///
/// # Errors
/// When it is there and cannot be removed.
pub(crate) fn remove() -> Result<()> {
    let directory = PathBuf::from(DIRECTORY);
    if directory.exists() {
        fs::remove_dir_all(&directory).context(DIRECTORY)?;
    }
    Ok(())
}

pub(crate) fn create() -> Result<()> {
    fs::create_dir_all(DIRECTORY).context(DIRECTORY)
}

pub(crate) fn processes_file() -> PathBuf {
    file("processes")
}

/// Opens the log of a process.
pub(crate) fn log_file(name: &str) -> Result<File> {
    let path = file(&format!("{name}.log"));
    File::create(&path).with_context(|| path.display().to_string())
}

fn write(name: &str, text: &str) -> Result<()> {
    let path = file(name);
    let Some(parent) = path.parent() else { bail!("{} has no parent", path.display()) };
    fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    let mut file = File::create(&path).with_context(|| path.display().to_string())?;
    file.write_all(text.as_bytes()).with_context(|| path.display().to_string())
}

fn subnet_env(plan: &Plan, node: &Node) -> String {
    let networks = plan.families().iter().map(|family| {
        let word = match family {
            Family::V4 => "FLANNEL",
            Family::V6 => "FLANNEL_IPV6",
        };
        let (cluster, own) = (plan.cluster.of(*family), node.end(*family).bridge_address());
        format!("{word}_NETWORK={cluster}\n{word}_SUBNET={own}\n")
    });
    let rest = format!("FLANNEL_MTU={}\nFLANNEL_IPMASQ=true\n", plan.pod_mtu());
    networks.chain([rest]).collect()
}

/// A line for each peer and family.
fn peers_file(plan: &Plan, node: &Node, members: &[usize]) -> String {
    let peers = node.peer_order.iter().filter(|peer| members.contains(peer));
    let line = |peer: &Node, family: Family| {
        let end = peer.end(family);
        format!("{} {} {} {}\n", end.subnet, end.ip, end.vtep_mac, peer.name)
    };
    let lines = peers
        .map(|peer| &plan.nodes[*peer])
        .flat_map(|peer| plan.families().iter().map(move |family| line(peer, *family)));
    std::iter::once("# POD_CIDR NODE_IP VTEP_MAC NAME\n".to_owned()).chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{plan::Stack, seed::Shape};

    #[test]
    fn subnet_env_is_as_flannel_writes_it() {
        let mut plan = Plan::draw(1, &Shape::default());
        plan.cluster.v4 = "10.244.0.0/16".parse().unwrap();
        plan.cluster.v6 = "fd00:244::/48".parse().unwrap();
        plan.nodes[0].subnet.v4 = "10.244.1.0/24".parse().unwrap();
        plan.nodes[0].subnet.v6 = "fd00:244:0:1::/64".parse().unwrap();
        let v4 = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n";
        let v6 = "FLANNEL_IPV6_NETWORK=fd00:244::/48\nFLANNEL_IPV6_SUBNET=fd00:244:0:1::1/64\n";
        for (stack, networks, mtu) in [
            (Stack::V4, v4.to_owned(), 1450),
            (Stack::Dual, [v4, v6].concat(), 1450),
            (Stack::V6, v6.to_owned(), 1430),
        ] {
            plan.stack = stack;
            let rest = format!("FLANNEL_MTU={mtu}\nFLANNEL_IPMASQ=true\n");
            assert_eq!(subnet_env(&plan, &plan.nodes[0]), networks + &rest);
        }
    }

    #[test]
    fn a_peers_file_names_all_others_and_not_the_node_itself() {
        let plan = Plan::draw(1, &Shape { nodes: Some(3), ..Shape::default() });
        let text = peers_file(&plan, &plan.nodes[1], &plan.all_nodes());
        assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 2);
        assert!(text.contains(&format!("{} {}", plan.nodes[0].subnet.v4, plan.nodes[0].ip.v4)));
        assert!(!text.contains(&plan.nodes[1].ip.v4.to_string()));
    }

    #[test]
    fn a_peers_file_of_both_families_names_every_other_twice() {
        let shape = Shape { nodes: Some(3), stack: Stack::Dual, ..Shape::default() };
        let plan = Plan::draw(1, &shape);
        let text = peers_file(&plan, &plan.nodes[1], &plan.all_nodes());
        assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 4);
        let v6 = plan.nodes[0].end(Family::V6);
        assert!(text.contains(&format!("{} {} {} n1", v6.subnet, v6.ip, v6.vtep_mac)), "{text}");
    }

    #[test]
    fn a_node_that_left_is_in_no_peers_file() {
        let plan = Plan::draw(1, &Shape { nodes: Some(3), ..Shape::default() });
        let text = peers_file(&plan, &plan.nodes[1], &[0, 1]);
        assert!(text.contains(&plan.nodes[0].ip.v4.to_string()));
        assert!(!text.contains(&plan.nodes[2].ip.v4.to_string()));
    }
}
