//! Reading /proc.

use std::{fs, io, path::Path};

use jiff::Timestamp;
use procfs::process::{Process, all_processes};

use super::Visibility;

/// Inode of the first PID namespace, the same on every kernel (include/linux/proc_ns.h,
/// PROC_PID_INIT_INO, 5.10; a part of the API since 6.18).
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// What can be seen of the machine's processes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// Those that may matter here; kernel threads are left out.
    pub(super) processes: Vec<Seen>,
    /// Inode of this thread's network namespace.
    pub(super) network_namespace: Option<u64>,
    /// Whether we are in the machine's first PID namespace and so may see all.
    pub(super) in_initial_pid_namespace: bool,
}

/// A process.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) pid: u32,
    /// Its short name, at most 15 bytes.
    pub(super) name: String,
    /// Its arguments, joined by spaces: k3s writes them so itself.
    pub(super) command_line: String,
    /// Inode of its network namespace; `None` when we may not know.
    pub(super) network_namespace: Option<u64>,
    /// When it started.
    pub(super) since: Option<Timestamp>,
}

/// Files of the node that tell its platform.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct HostFiles {
    /// `os-release`, empty when unreadable.
    pub(super) os_release: String,
    /// Whether /etc/kubernetes/kubelet.conf exists, which kubeadm writes.
    pub(super) kubelet_conf: bool,
}

impl View {
    /// How much of the node this is.
    pub(super) fn visibility(&self) -> Visibility {
        if !self.in_initial_pid_namespace {
            return Visibility::OwnNamespace;
        }
        let readable = |seen: &Seen| seen.network_namespace.is_some();
        if self.processes.iter().all(readable) { Visibility::Node } else { Visibility::Unreadable }
    }
}

/// All processes that /proc shows. What vanishes while it is read is left out.
pub(super) fn processes() -> View {
    let processes = all_processes().into_iter().flatten().filter_map(|found| seen(&found.ok()?));
    View {
        processes: processes.collect(),
        network_namespace: inode("/proc/thread-self/ns/net"),
        in_initial_pid_namespace: inode("/proc/self/ns/pid") == Some(INITIAL_PID_NAMESPACE),
    }
}

/// The node's files: by its first process, as a container has its own, else our own.
pub(super) fn host_files() -> HostFiles {
    let node = Path::new("/proc/1/root");
    let root = if node.join("etc").exists() { node } else { Path::new("/") };
    let os_release = ["etc/os-release", "usr/lib/os-release"]
        .iter()
        .find_map(|path| fs::read_to_string(root.join(path)).ok())
        .unwrap_or_default();
    HostFiles { os_release, kubelet_conf: root.join("etc/kubernetes/kubelet.conf").exists() }
}

fn seen(process: &Process) -> Option<Seen> {
    let pid = u32::try_from(process.pid()).ok()?;
    let command_line = process.cmdline().unwrap_or_default().join(" ");
    if command_line.is_empty() {
        return None;
    }
    let stat = process.stat().ok()?;
    let network_namespace = match fs::read_link(format!("/proc/{pid}/ns/net")) {
        Ok(link) => number(&link),
        // It has ended meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(_) => None,
    };
    Some(Seen {
        pid,
        name: stat.comm,
        command_line,
        network_namespace,
        since: started(stat.starttime),
    })
}

/// A start time in clock ticks after boot as a time of day, exact to a second (btime is).
fn started(ticks: u64) -> Option<Timestamp> {
    let seconds = procfs::boot_time_secs().ok()? + ticks / procfs::ticks_per_second();
    Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
}

/// The inode of a namespace, by which it is known; `None` without the right to look.
fn inode(path: &str) -> Option<u64> {
    number(&fs::read_link(path).ok()?)
}

/// The inode in a namespace's link, such as `net:[4026531992]`. Where we may not look, Linux 5.10
/// gives an empty link, and to stat(2) the inode of the link itself; newer kernels give EACCES
/// (fs/proc/namespaces.c, `proc_ns_readlink`).
fn number(link: &Path) -> Option<u64> {
    link.to_str()?.split_once(":[")?.1.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_see_ourselves_in_our_own_network_namespace_since_a_moment() {
        let view = processes();
        let own = view.processes.iter().find(|seen| seen.pid == std::process::id()).unwrap();
        assert!(own.network_namespace.is_some());
        assert_eq!(own.network_namespace, view.network_namespace);
        let age = Timestamp::now().duration_since(own.since.unwrap()).as_secs();
        assert!((-2..3600).contains(&age), "{age}");
    }

    #[test]
    fn a_link_that_may_not_be_read_is_no_namespace() {
        assert_eq!(number(Path::new("net:[4026531992]")), Some(4_026_531_992));
        assert_eq!(number(Path::new("")), None);
        assert_eq!(number(Path::new("net:[]")), None);
    }

    #[test]
    fn a_process_that_may_not_be_looked_into_is_not_the_whole_node() {
        let process = |network_namespace| Seen { network_namespace, ..Seen::default() };
        let node =
            |processes| View { processes, in_initial_pid_namespace: true, ..View::default() };
        assert_eq!(node(vec![process(Some(1))]).visibility(), Visibility::Node);
        let some = node(vec![process(Some(1)), process(None)]);
        assert_eq!(some.visibility(), Visibility::Unreadable);
        let container = View { in_initial_pid_namespace: false, ..some };
        assert_eq!(container.visibility(), Visibility::OwnNamespace);
    }

    #[test]
    fn this_machine_has_an_os_release_or_none_but_never_fails() {
        let files = host_files();
        assert!(files.os_release.is_empty() || files.os_release.contains("ID="));
    }
}
