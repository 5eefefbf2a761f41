//! Long-lived processes of a lab. Each is recorded in the state directory with its start time and
//! namespace, so that whoever cleans up after a killed lab ends exactly these and no others.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};

use crate::{netns, poll::poll_true, state, teardown};

/// How long a killed process may take to go.
const DEATH: Duration = Duration::from_secs(5);
/// The helper that runs inside the lab's namespaces.
const AGENT: &str = "lab-agent";
/// Names the helper when it is not beside the running program.
pub const AGENT_VARIABLE: &str = "FLANNEL_TRACER_LAB_AGENT";

/// A process that was started for a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Recorded {
    pid: i32,
    /// Clock ticks after boot: with the pid, unique until the next boot.
    start: u64,
    /// Inode of its network namespace.
    namespace: u64,
}

/// Path of the `lab-agent` program.
///
/// # Errors
/// When it has not been built.
pub fn agent() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(AGENT_VARIABLE) {
        return Ok(PathBuf::from(path));
    }
    let own = std::env::current_exe().context("the running program has no path")?;
    // A test runs in target/debug/deps, a command in target/debug.
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(AGENT))
        .find(|path| path.is_file())
        .with_context(|| {
            format!("no {AGENT} beside {}: run `cargo build -p tracer-tests`", own.display())
        })
}

/// Starts a process in a namespace and records it. It outlives us; [`end_all`] ends it.
///
/// # Errors
/// When it cannot be started or recorded.
pub fn spawn(namespace: &str, program: &Path, arguments: &[&str]) -> Result<()> {
    let _gate = teardown::gate();
    netns::run_in(namespace, || {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let log = state::log_file(&format!("{namespace}-{name}"))?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("log file")?)
            .stderr(log)
            .spawn()
            .with_context(|| {
                format!("cannot start {}: run `cargo xtask setup`", program.display())
            })?;
        let pid = i32::try_from(child.id()).context("process id")?;
        record(Recorded::of(pid).context("the new process is already gone")?)
    })
}

/// Runs a command that moves itself into a namespace (`nsenter`) and waits for its end. It is
/// recorded like the others, so that it does not outlive an interrupted lab.
///
/// # Errors
/// When it cannot be started or recorded.
pub fn run(namespace: &str, command: &mut Command) -> Result<Output> {
    let child = start(namespace, command)?;
    child.wait_with_output().with_context(|| format!("cannot wait for {command:?}"))
}

/// Starts a command that moves itself into a namespace, as [`run`] does, and leaves its end to the
/// caller.
///
/// # Errors
/// When it cannot be started or recorded.
pub fn start(namespace: &str, command: &mut Command) -> Result<Child> {
    let _gate = teardown::gate();
    let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let pid = i32::try_from(child.id()).context("process id")?;
    // A command that has ended already needs no record.
    if let Some(started) = Recorded::of(pid) {
        record(Recorded { namespace: netns::inode(namespace)?, ..started })?;
    }
    Ok(child)
}

/// Ends the recorded processes of a namespace that have a name, and waits until they are gone.
///
/// # Errors
/// When the records cannot be read or a process does not go.
pub(crate) fn end_named(namespace: &str, name: &str) -> Result<()> {
    end(&running_of(namespace, name)?)
}

/// Whether no recorded process of a namespace has this name any more.
pub(crate) fn has_ended(namespace: &str, name: &str) -> bool {
    running_of(namespace, name).is_ok_and(|running| {
        running.iter().for_each(Recorded::reap);
        running.is_empty()
    })
}

fn running_of(namespace: &str, name: &str) -> Result<Vec<Recorded>> {
    let namespace = netns::inode(namespace)?;
    let is_meant = |process: &Recorded| {
        let comm = fs::read_to_string(format!("/proc/{}/comm", process.pid)).unwrap_or_default();
        process.namespace == namespace && comm.trim_end() == name && process.is_running()
    };
    Ok(recorded()?.into_iter().filter(is_meant).collect())
}

/// Ends every recorded process and waits until it is gone.
///
/// # Errors
/// When the records cannot be read or a process does not go.
pub fn end_all() -> Result<()> {
    end(&recorded()?.into_iter().filter(Recorded::is_running).collect::<Vec<_>>())
}

fn end(running: &[Recorded]) -> Result<()> {
    for process in running {
        // It may have gone by itself since: then there is nothing to end.
        let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
    }
    poll_true("the lab's processes to end", DEATH, || {
        running.iter().for_each(Recorded::reap);
        !running.iter().any(Recorded::is_running)
    })
}

// === impl Recorded ===

impl Recorded {
    fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, start) = state_and_start(&stat)?;
        let namespace = fs::metadata(format!("/proc/{pid}/ns/net")).ok()?.ino();
        (state != 'Z').then_some(Self { pid, start, namespace })
    }

    fn is_running(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    /// Collects it when it is a child of ours; else its own parent does.
    fn reap(&self) {
        let _ = waitpid(Pid::from_raw(self.pid), Some(WaitPidFlag::WNOHANG));
    }
}

/// Fields 3 and 22 of /proc/PID/stat (proc(5)); the name in field 2 may hold spaces and brackets.
fn state_and_start(stat: &str) -> Option<(char, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

fn record(process: Recorded) -> Result<()> {
    let path = state::processes_file();
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    // One write call: several nodes are built at the same time.
    let line = format!("{} {} {}\n", process.pid, process.start, process.namespace);
    File::write_all(&mut file, line.as_bytes()).with_context(|| path.display().to_string())
}

fn recorded() -> Result<Vec<Recorded>> {
    let path = state::processes_file();
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    // A last line that was cut short by a kill is no record.
    Ok(text.lines().filter_map(parse_record).collect())
}

fn parse_record(line: &str) -> Option<Recorded> {
    let mut fields = line.split(' ');
    let pid = fields.next()?.parse().ok()?;
    let start = fields.next()?.parse().ok()?;
    let namespace = fields.next()?.parse().ok()?;
    Some(Recorded { pid, start, namespace })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1";
        assert_eq!(state_and_start(stat), Some(('S', 4242)));
    }

    #[test]
    fn our_own_process_is_found_and_another_start_time_is_another_process() {
        let own = Recorded::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.is_running());
        assert!(!Recorded { start: own.start + 1, ..own }.is_running());
        assert!(!Recorded { namespace: own.namespace + 1, ..own }.is_running());
    }

    #[test]
    fn a_record_that_was_cut_short_is_no_record() {
        assert_eq!(parse_record("12 34"), None);
        assert_eq!(parse_record("12 34 56"), Some(Recorded { pid: 12, start: 34, namespace: 56 }));
    }
}
