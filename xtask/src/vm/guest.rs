//! One guest: QEMU with a kernel and an image, watched until it ends or is ended.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::accelerator::Accelerator;
use super::architecture::Architecture;
use super::console::{self, Ending, Expected, Verdict};
use super::kernel::Kernel;
use crate::shell;

/// Memory of a guest, in MiB: image, its unpacked copy, and a lab.
const MEMORY: &str = "2560";
/// Two guests share a small machine.
const CPUS: &str = "1";
/// A dead guest ends at once (`panic=-1` with `-no-reboot`), and an oops is a death.
const KERNEL_ARGUMENTS: &str = "panic=-1 oops=panic";

/// How long a guest may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Without a byte on the console.
    pub(super) silence: Duration,
    /// Altogether.
    pub(super) total: Duration,
}

/// A guest to be.
pub(super) struct Guest<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) image: &'a Path,
    pub(super) machine: (Architecture, Accelerator),
    /// More words for the kernel.
    pub(super) append: &'a str,
    /// Where everything goes that the console says.
    pub(super) log: &'a Path,
    /// What it has to say.
    pub(super) expected: &'a Expected,
}

/// What a guest came to.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Ran {
    pub(super) verdict: Verdict,
    /// From QEMU's start to its end.
    pub(super) took: Duration,
    /// What of that a processor worked for it, as far as it is known: on a busy machine the guest
    /// is slow for want of one.
    pub(super) worked: Option<Duration>,
}

/// A process that does not outlive its owner.
struct Process(Child);

// === impl Ran ===

impl Ran {
    /// Only the suites and cases that were right.
    pub(super) fn right(&self) -> Self {
        Self { verdict: self.verdict.right(), ..*self }
    }

    /// Only what it said of these cases.
    pub(super) fn of(self, cases: &[String]) -> Self {
        Self { verdict: self.verdict.of(cases), ..self }
    }

    /// Whether it has said anything of a case.
    pub(super) fn has_shown(&self) -> bool {
        !self.verdict.cells.is_empty()
    }

    /// Without the suites and cases of which another guest has said something, or was to.
    pub(super) fn but(mut self, other: &Self) -> Self {
        let Verdict { missing, .. } = &other.verdict;
        let is_missing = |case: &str| missing.iter().any(|it| it == case);
        let has_said = |case: &str| other.verdict.cell(case).is_some() || is_missing(case);
        self.verdict.cells.retain(|cell| !has_said(&cell.case));
        self.verdict.passed.retain(|(suite, _)| !has_said(suite));
        self.verdict.losses.retain(|loss| !has_said(&loss.case));
        self
    }

    /// Together with suites that an earlier guest has shown to be right.
    pub(super) fn after(self, earlier: &Self) -> Self {
        Self {
            verdict: self.verdict.after(&earlier.verdict),
            took: earlier.took + self.took,
            worked: earlier.worked.zip(self.worked).map(|(one, other)| one + other),
        }
    }
}

// === impl Guest ===

impl Guest<'_> {
    /// Boots it and waits for its end.
    pub(super) fn run(&self, limits: &Limits) -> Result<Ran> {
        let nonce = nonce()?;
        let start = Instant::now();
        let mut process = Process(self.command(&nonce).spawn().context("cannot start QEMU")?);
        let console = process.0.stdout.take().context("a pipe was asked for")?;
        let (sender, chunks) = channel();
        thread::spawn(move || forward(console, |chunk| sender.send(chunk).is_ok()));
        let mut log = File::create(self.log)
            .with_context(|| format!("cannot write {}", self.log.display()))?;
        let (said, ending) =
            watch(&chunks, limits, |chunk| log.write_all(chunk).context("cannot write the log"))?;
        let worked = process.worked();
        drop(process);
        let said = String::from_utf8_lossy(&said);
        let verdict = console::judge(&said, &nonce, self.expected, ending);
        Ok(Ran { verdict, took: start.elapsed(), worked })
    }

    fn command(&self, nonce: &str) -> Command {
        let (architecture, accelerator) = self.machine;
        let own = accelerator.kernel_arguments(architecture);
        let console = architecture.console();
        let append =
            format!("console={console} {KERNEL_ARGUMENTS} {own} vm.nonce={nonce} {}", self.append);
        let (program, options) = architecture.qemu();
        let mut qemu = shell::command(program);
        qemu.args(options)
            .args(accelerator.options(architecture))
            .args(["-m", MEMORY, "-smp", CPUS, "-nodefaults", "-no-reboot", "-display", "none"])
            .args(["-serial", "stdio", "-append", append.trim_end()])
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(self.image)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        end_with_this(&mut qemu);
        qemu
    }
}

// === impl Process ===

impl Process {
    /// Processor time so far; one that has ended and was not yet waited for still tells it.
    fn worked(&self) -> Option<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).ok()?;
        processor_time(&stat)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already, or has to.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has a process end with the thread that starts it, however that ends: nobody watches a guest
/// after its owner was killed.
fn end_with_this(command: &mut Command) {
    let owner = Pid::this();
    let ask = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // It may have ended before the question.
        let is_gone = Pid::parent() != owner;
        if is_gone { Err(ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    };
    // SAFETY: between fork and exec there are two system calls and no allocation.
    unsafe { command.pre_exec(ask) };
}

/// utime and stime of proc_pid_stat(5), which count in USER_HZ: 100 on every architecture that has
/// KVM (include/asm-generic/param.h, Linux 6.18).
fn processor_time(stat: &str) -> Option<Duration> {
    // The name before it is in parentheses and may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let ticks: u64 = rest.split(' ').skip(11).take(2).map(|it| it.parse().unwrap_or(0)).sum();
    Some(Duration::from_millis(10 * ticks))
}

/// A number that this guest's verdict must carry.
fn nonce() -> Result<String> {
    let mut bytes = [0; 8];
    let mut random = File::open("/dev/urandom").context("/dev/urandom")?;
    random.read_exact(&mut bytes).context("/dev/urandom")?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

/// Passes on what is read, as it comes, until the end or until nobody takes it.
fn forward(mut from: impl std::io::Read, take: impl Fn(Vec<u8>) -> bool) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if !take(buffer[..length].to_vec()) {
            return;
        }
    }
}

/// Gathers the console until its end, or until a limit is reached.
fn watch(
    chunks: &Receiver<Vec<u8>>,
    limits: &Limits,
    mut keep: impl FnMut(&[u8]) -> Result<()>,
) -> Result<(Vec<u8>, Ending)> {
    let end = Instant::now() + limits.total;
    let mut said = Vec::new();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok((said, Ending::Overtime));
        }
        match chunks.recv_timeout(limits.silence.min(left)) {
            Ok(chunk) => {
                keep(&chunk)?;
                said.extend(chunk);
            }
            Err(RecvTimeoutError::Disconnected) => return Ok((said, Ending::Exit)),
            Err(RecvTimeoutError::Timeout) if limits.silence <= left => {
                return Ok((said, Ending::Silence));
            }
            Err(RecvTimeoutError::Timeout) => return Ok((said, Ending::Overtime)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    const SOON: Duration = Duration::from_millis(30);
    const LATE: Duration = Duration::from_secs(60);

    fn watched(
        chunks: &Receiver<Vec<u8>>,
        silence: Duration,
        total: Duration,
    ) -> (Vec<u8>, Ending) {
        watch(chunks, &Limits { silence, total }, |_| Ok(())).expect("nothing to write")
    }

    #[test]
    fn processor_time_is_the_sum_of_user_and_system() {
        let stat = "7 (a) b) R 1 7 7 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 1 0 99 1 1 1";
        assert_eq!(processor_time(stat), Some(Duration::from_secs(3)));
        assert_eq!(processor_time("7"), None);
    }

    #[test]
    fn a_process_ends_with_the_thread_that_started_it() {
        let start = || {
            let mut sleep = Command::new("sleep");
            end_with_this(&mut sleep);
            sleep.arg("60").spawn().expect("sleep runs")
        };
        let mut child = thread::spawn(start).join().expect("the thread ends well");
        let status = child.wait().expect("the child is ours");
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
    }

    #[test]
    fn the_end_of_the_console_is_the_end_of_the_guest() {
        let (sender, chunks) = channel();
        forward(&b"last words"[..], |chunk| sender.send(chunk).is_ok());
        drop(sender);
        assert_eq!(watched(&chunks, LATE, LATE), (b"last words".to_vec(), Ending::Exit));
    }

    #[test]
    fn silence_and_overtime_are_told_apart() {
        let (_sender, chunks) = channel();
        assert_eq!(watched(&chunks, SOON, LATE).1, Ending::Silence);
        assert_eq!(watched(&chunks, LATE, SOON).1, Ending::Overtime);
    }

    #[test]
    fn a_guest_that_talks_for_ever_is_ended_too() {
        let (sender, chunks) = channel();
        thread::spawn(move || while sender.send(b"test a ... ".to_vec()).is_ok() {});
        assert_eq!(watched(&chunks, LATE, SOON).1, Ending::Overtime);
    }
}
