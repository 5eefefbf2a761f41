//! Network namespaces: create, delete, and run something inside one.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    panic,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns};

use crate::script::{Script, Tool};

/// What the names of all our namespaces begin with; nothing else on the machine may use it.
pub const PREFIX: &str = "fltr-";
/// The bridge that joins the uplinks.
pub const SWITCH: &str = "fltr-switch";
/// The default gateway.
pub const GATEWAY: &str = "fltr-gateway";
/// The LAN client.
pub const CLIENT: &str = "fltr-client";

/// Where `ip netns` keeps namespaces.
const DIRECTORY: &str = "/run/netns";

/// Name of the namespace of a node or pod.
#[must_use]
pub fn of(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// The file that stands for a namespace.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Creates namespaces.
///
/// # Errors
/// Without root, or when one of them exists.
pub fn create(names: &[String]) -> Result<()> {
    Script::new(Tool::Ip, None, names.iter().map(|name| format!("netns add {name}"))).run()
}

/// Names of our namespaces that exist now.
///
/// # Errors
/// When the directory is there and cannot be read.
pub fn existing() -> Result<Vec<String>> {
    let entries = match fs::read_dir(DIRECTORY) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(DIRECTORY),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.context(DIRECTORY)?.file_name().to_string_lossy().into_owned();
        if name.starts_with(PREFIX) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Identity of a namespace: its inode.
///
/// # Errors
/// When it does not exist.
pub fn inode(name: &str) -> Result<u64> {
    let path = path(name);
    Ok(fs::metadata(&path).with_context(|| path.display().to_string())?.ino())
}

/// Runs `work` in a namespace, on a thread of its own, so that the caller stays where it is.
/// Sockets that it opens and processes that it starts stay in the namespace.
///
/// # Errors
/// When the namespace cannot be entered, and those of `work`.
pub fn run_in<T: Send>(namespace: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let entered = scope.spawn(|| {
            enter(namespace)?;
            work()
        });
        entered.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
    })
}

/// Moves the calling thread into a namespace, for the rest of its life.
///
/// # Errors
/// When there is no such namespace, and without root.
pub fn enter(namespace: &str) -> Result<()> {
    let path = path(namespace);
    let file = File::open(&path)
        .with_context(|| format!("no network namespace {}: is the lab up?", path.display()))?;
    setns(&file, CloneFlags::CLONE_NEWNET)
        .with_context(|| format!("cannot enter network namespace {namespace}: run it as root"))
}

/// A command that runs `program` in a namespace and leaves mounts alone: `ip netns exec` would
/// mount another /sys and so hide bpffs.
#[must_use]
pub fn command_in(namespace: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", path(namespace).display())).arg(program);
    command
}
