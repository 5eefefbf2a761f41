//! The memory cgroup of a process: version 2, or the memory controller of version 1.
//!
//! Which directory it is depends on whose mount of the cgroups is read and on the reader's own
//! cgroup namespace; a directory counts only when it lists the process.

use std::{
    fs::{self, File},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

/// A limit above this is none: version 1 writes the largest number of pages.
const NO_LIMIT: u64 = 1 << 60;
/// Where version 1 has its controller of memory, below the mounts.
const CONTROLLER: &str = "memory";

/// What a memory cgroup says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Memory {
    /// Path below its mount.
    pub(super) path: String,
    /// Bytes in use, without inactive file pages.
    pub(super) bytes: u64,
    pub(super) limit: Option<u64>,
    /// Processes killed for want of memory, in version 2 those of a pod's former containers too.
    pub(super) kills: u64,
}

/// The memory cgroup of a process. It stays readable when the privilege to find it, SYS_PTRACE, has
/// been given up.
#[derive(Debug)]
pub(super) struct MemoryCgroup {
    directory: File,
    /// The cgroup above it is a pod's, by its name.
    is_in_pod: bool,
    is_v2: bool,
    path: String,
}

/// A cgroup in its hierarchy.
struct Place<'a> {
    is_v2: bool,
    path: &'a str,
}

/// The line of the memory controller, else that of version 2: `4:memory:/pod`, `0::/pod`.
fn place(memberships: &str) -> Option<Place<'_>> {
    let lines = || memberships.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let v1 = lines().find(|(names, _)| names.split(',').any(|name| name == CONTROLLER));
    if let Some((_, path)) = v1 {
        return Some(Place { is_v2: false, path });
    }
    lines().find(|(names, _)| names.is_empty()).map(|(_, path)| Place { is_v2: true, path })
}

fn lists(directory: &Path, pid: u32) -> bool {
    let processes = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    processes.lines().any(|line| line.parse() == Ok(pid))
}

/// Whether a cgroup is a pod's, as the kubelet names them with either of its drivers:
/// `kubepods-burstable-podUID.slice`, `podUID`.
fn is_pod(directory: &Path) -> bool {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("pod") || name.starts_with("kubepods") && name.contains("-pod")
}

/// The number behind a name.
fn value(text: &str, name: &str) -> Option<u64> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.find(|(found, _)| *found == name)?.1.trim().parse().ok()
}

// === impl MemoryCgroup ===

impl MemoryCgroup {
    /// The cgroup that a process shares with nobody but what belongs to it: `None` for the root
    /// cgroup, for one in which this process is too, and where none can be found.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let memberships = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let found = place(&memberships)?;
        if found.path == "/" || place(&own).is_some_and(|own| own.path == found.path) {
            return None;
        }
        let mounts = ["/proc/1/root/sys/fs/cgroup", "/sys/fs/cgroup"];
        let mut directories = mounts.iter().map(|mount| found.below(Path::new(mount)));
        Self::open(&directories.find(|it| lists(it, pid))?, &found)
    }

    fn open(directory: &Path, place: &Place<'_>) -> Option<Self> {
        Some(Self {
            is_in_pod: directory.parent().is_some_and(is_pod),
            directory: File::open(directory).ok()?,
            is_v2: place.is_v2,
            path: place.path.to_owned(),
        })
    }

    /// What it says now; nothing when it has gone.
    pub(super) fn read(&self) -> Option<Memory> {
        let stat = self.text("memory.stat")?;
        let number = |name: &str| self.text(name)?.trim().parse::<u64>().ok();
        let (used, limit, inactive) = if self.is_v2 {
            (number("memory.current")?, number("memory.max"), "inactive_file")
        } else {
            let limit = number("memory.limit_in_bytes");
            (number("memory.usage_in_bytes")?, limit, "total_inactive_file")
        };
        Some(Memory {
            path: self.path.clone(),
            bytes: used.saturating_sub(value(&stat, inactive).unwrap_or(0)),
            limit: limit.filter(|limit| *limit < NO_LIMIT),
            kills: self.kills().unwrap_or(0),
        })
    }

    /// A container's cgroup goes with it; in version 2 its pod's counts on.
    fn kills(&self) -> Option<u64> {
        let name = match (self.is_v2, self.is_in_pod) {
            (true, true) => "../memory.events",
            (true, false) => "memory.events",
            (false, _) => "memory.oom_control",
        };
        value(&self.text(name)?, "oom_kill")
    }

    fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(format!("/proc/self/fd/{}/{name}", self.directory.as_raw_fd())).ok()
    }
}

// === impl Memory ===

impl Memory {
    /// Whether a kill that was logged of a cgroup was one of this: a kill that it counts, or one in
    /// a former container of the same pod. The name of a unit's cgroup is used again, and what
    /// happened before is none of its own; a pod's name never is.
    pub(super) fn has_killed_in(&self, cgroup: &str) -> bool {
        let pod = |path: &str| Path::new(path).parent().filter(|it| is_pod(it)).map(Path::to_owned);
        if self.path == cgroup {
            return self.kills > 0;
        }
        pod(&self.path).is_some_and(|own| pod(cgroup) == Some(own))
    }
}

// === impl Place ===

impl Place<'_> {
    fn below(&self, mount: &Path) -> PathBuf {
        let mount = if self.is_v2 { mount.to_owned() } else { mount.join(CONTROLLER) };
        mount.join(self.path.trim_start_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }

    fn read(directory: &Path, place: Place<'_>) -> Memory {
        MemoryCgroup::open(directory, &place).unwrap().read().unwrap()
    }

    #[test]
    fn version_two_is_read_with_the_kills_of_the_whole_pod() {
        let pod = "kubepods-burstable-pod12_34.slice";
        let at = |name: &str| format!("{pod}/cri-1.scope/{name}");
        let root = written(&[
            (&at("memory.current"), "70000\n"),
            (&at("memory.max"), "100000\n"),
            (&at("memory.stat"), "anon 50000\ninactive_file 10000\nactive_file 1\n"),
            (&at("memory.events"), "oom 0\noom_kill 0\n"),
            (&format!("{pod}/memory.events"), "low 0\noom 3\noom_kill 2\noom_group_kill 0\n"),
        ]);
        let path = "/pod/cri-1.scope";
        let directory = root.path().join(pod).join("cri-1.scope");
        let memory = read(&directory, Place { is_v2: true, path });
        let expected =
            Memory { path: path.to_owned(), bytes: 60_000, limit: Some(100_000), kills: 2 };
        assert_eq!(memory, expected);
    }

    #[test]
    fn a_unit_counts_its_own_kills_and_max_is_no_limit() {
        let root = written(&[
            ("memory.events", "oom_kill 9\n"),
            ("k3s.service/memory.current", "70000\n"),
            ("k3s.service/memory.max", "max\n"),
            ("k3s.service/memory.stat", "anon 1\n"),
            ("k3s.service/memory.events", "oom_kill 1\n"),
        ]);
        let place = Place { is_v2: true, path: "/system.slice/k3s.service" };
        let memory = read(&root.path().join("k3s.service"), place);
        assert_eq!((memory.bytes, memory.limit, memory.kills), (70_000, None, 1));
    }

    #[test]
    fn version_one_is_read_and_its_largest_number_is_no_limit() {
        let files = |limit| {
            written(&[
                ("memory.usage_in_bytes", "70000\n"),
                ("memory.limit_in_bytes", limit),
                ("memory.stat", "inactive_file 1\ntotal_inactive_file 20000\n"),
                ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"),
            ])
        };
        let place = || Place { is_v2: false, path: "/kubepods/pod1/c" };
        let limited = read(files("90000\n").path(), place());
        assert_eq!((limited.bytes, limited.limit, limited.kills), (50_000, Some(90_000), 4));
        let free = read(files("9223372036854771712\n").path(), place());
        assert_eq!(free.limit, None);
    }

    #[test]
    fn the_controller_of_memory_wins_over_version_two() {
        let both = "5:devices:/a\n4:cpu,memory:/b\n0::/c\n";
        assert!(place(both).is_some_and(|it| !it.is_v2 && it.path == "/b"));
        assert!(place("0::/c:d\n").is_some_and(|it| it.is_v2 && it.path == "/c:d"));
        assert!(place("5:devices:/a\n").is_none());
    }

    #[test]
    fn who_shares_our_cgroup_has_none_of_its_own() {
        assert!(MemoryCgroup::of(std::process::id()).is_none());
    }

    #[test]
    fn a_logged_kill_is_of_a_cgroup_that_counts_it_or_of_a_former_container_of_the_pod() {
        let memory =
            |path: &str, kills| Memory { path: path.to_owned(), bytes: 0, limit: None, kills };
        let container = memory("/kubepods/burstable/pod12/aaa", 0);
        assert!(container.has_killed_in("/kubepods/burstable/pod12/bbb"));
        assert!(!container.has_killed_in("/kubepods/burstable/pod34/aaa"));
        let unit = "/system.slice/k3s.service";
        assert!(memory(unit, 1).has_killed_in(unit));
        assert!(!memory(unit, 0).has_killed_in(unit), "before it was made anew");
        assert!(!memory(unit, 1).has_killed_in("/system.slice/other.service"));
    }
}
