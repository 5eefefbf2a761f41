//! The stand-in for flanneld: a process of that name in a node's namespace that does nothing, for
//! faults also in a memory cgroup of its own.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    netns,
    poll::{poll_true, poll_until},
    process, state,
};

/// What it is called.
const NAME: &str = "flanneld";
/// Where the memory controller of version 1 has its cgroups, or version 2 all of them.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"];
/// What the names of our cgroups begin with.
const PREFIX: &str = "flannel-tracer-lab-";
/// How long it may take to fill its memory, or to be killed for it.
const FILLING: Duration = Duration::from_secs(20);
/// How long a cgroup may be busy after its last process has ended.
const EMPTYING: Duration = Duration::from_secs(5);

/// What becomes of a node's flanneld: a line of a script.
///
/// `stop NODE`, `start NODE`, `fill NODE LIMIT PERCENT` in a cgroup of its own, `exhaust NODE LIMIT`
/// there until the kernel kills it, and `free NODE` of an empty cgroup.
pub(crate) fn run(line: &str) -> Result<()> {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |word: &str| word.parse::<u64>().with_context(|| format!("a number in `{line}`"));
    match words.as_slice() {
        ["stop", node] => process::end_named(&namespace(node), NAME),
        ["start", node] => start(node),
        ["fill", node, limit, percent] => {
            let limit = number(limit)?;
            fill(node, limit, limit / 100 * number(percent)?)
        }
        ["exhaust", node, limit] => exhaust(node, number(limit)?),
        ["free", node] => remove(&cgroup(node)?),
        _ => bail!("`{line}` is nothing that flanneld does"),
    }
}

/// Starts it in the namespace of a node.
///
/// # Errors
/// When it cannot be started.
pub fn start(node: &str) -> Result<()> {
    process::spawn(&namespace(node), &program(node)?, &["idle"])
}

/// Removes the cgroups that killed labs left behind; they are empty by now.
pub(crate) fn remove_cgroups() -> Result<()> {
    for mount in MOUNTS.iter().filter(|mount| Path::new(mount).is_dir()) {
        for entry in fs::read_dir(mount).context(*mount)? {
            let path = entry.context(*mount)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(PREFIX) {
                remove(&path)?;
            }
        }
    }
    Ok(())
}

/// A limited cgroup of which it uses so many bytes.
fn fill(node: &str, limit: u64, bytes: u64) -> Result<()> {
    let cgroup = limited(node, limit)?;
    spawn_in(node, &cgroup, bytes)?;
    poll_true("flanneld to fill its memory", FILLING, || used(&cgroup) >= bytes)
}

/// It needs more than it may use until the kernel kills it, and is started anew.
fn exhaust(node: &str, limit: u64) -> Result<()> {
    let cgroup = limited(node, limit)?;
    spawn_in(node, &cgroup, 2 * limit)?;
    poll_true("the kernel to kill flanneld", FILLING, || {
        process::has_ended(&namespace(node), NAME) && kills(&cgroup) > 0
    })?;
    spawn_in(node, &cgroup, 0)?;
    poll_true("flanneld to be in its cgroup", FILLING, || !processes(&cgroup).is_empty())
}

fn spawn_in(node: &str, cgroup: &Path, bytes: u64) -> Result<()> {
    let (cgroup, bytes) = (cgroup.display().to_string(), bytes.to_string());
    let arguments = ["idle", "--cgroup", &cgroup, "--hold", &bytes];
    process::spawn(&namespace(node), &program(node)?, &arguments)
}

/// The agent under the name that the tracer looks for.
fn program(node: &str) -> Result<PathBuf> {
    state::link(&process::agent()?, &format!("{node}/{NAME}"))
}

fn namespace(node: &str) -> String {
    netns::of(node)
}

fn cgroup(node: &str) -> Result<PathBuf> {
    let is_mounted = |mount: &&&str| Path::new(mount).join("cgroup.procs").exists();
    let mount = MOUNTS.iter().find(is_mounted).context("no cgroups of memory are mounted")?;
    Ok(Path::new(mount).join(format!("{PREFIX}{node}")))
}

/// Makes the cgroup with its limit.
fn limited(node: &str, limit: u64) -> Result<PathBuf> {
    let path = cgroup(node)?;
    let parent = path.parent().context("a cgroup has a parent")?;
    // Version 2 has the controller only where the cgroup above asks for it.
    let control = parent.join("cgroup.subtree_control");
    if control.exists() {
        fs::write(&control, "+memory").with_context(|| control.display().to_string())?;
    }
    fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    let file = path.join(if is_v2(&path) { "memory.max" } else { "memory.limit_in_bytes" });
    fs::write(&file, limit.to_string()).with_context(|| file.display().to_string())?;
    Ok(path)
}

fn is_v2(cgroup: &Path) -> bool {
    cgroup.join("cgroup.controllers").exists()
}

fn used(cgroup: &Path) -> u64 {
    let file = if is_v2(cgroup) { "memory.current" } else { "memory.usage_in_bytes" };
    let text = fs::read_to_string(cgroup.join(file)).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

fn kills(cgroup: &Path) -> u64 {
    let file = if is_v2(cgroup) { "memory.events" } else { "memory.oom_control" };
    let text = fs::read_to_string(cgroup.join(file)).unwrap_or_default();
    let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
    let kills = pairs.find(|(name, _)| *name == "oom_kill").map(|(_, number)| number.parse());
    kills.and_then(Result::ok).unwrap_or(0)
}

fn processes(cgroup: &Path) -> String {
    fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default()
}

/// A process that has ended may still be in its cgroup for a moment, as was seen on Linux 6.12.117;
/// until then that is busy.
fn remove(cgroup: &Path) -> Result<()> {
    poll_until("flanneld's cgroup to be removed", EMPTYING, || match fs::remove_dir(cgroup) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| cgroup.display().to_string())
        }
        _ => Ok(()),
    })
}
