//! One guest: QEMU with a kernel and an image, watched until it ends or is ended.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::accelerator::Accelerator;
use super::console::{self, Ending, Verdict};
use super::kernel::Kernel;
use crate::shell;

/// Memory of a guest, in MiB: image, its unpacked copy, and a lab.
const MEMORY: &str = "2560";
const CPUS: &str = "2";
/// A dead guest ends at once (`panic=-1` with `-no-reboot`), and an oops is a death.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet panic=-1 oops=panic";

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
    pub(super) accelerator: Accelerator,
    /// More words for the kernel.
    pub(super) append: &'a str,
    /// Where everything goes that the console says.
    pub(super) log: &'a Path,
    /// How many suites it is to run.
    pub(super) suites: usize,
}

/// A process that does not outlive its owner.
struct Process(Child);

// === impl Guest ===

impl Guest<'_> {
    /// Boots it and waits for its end.
    pub(super) fn run(&self, limits: &Limits) -> Result<Verdict> {
        let nonce = nonce()?;
        let mut process = Process(self.command(&nonce).spawn().context("cannot start QEMU")?);
        let console = process.0.stdout.take().context("a pipe was asked for")?;
        let (sender, chunks) = channel();
        thread::spawn(move || forward(console, |chunk| sender.send(chunk).is_ok()));
        let mut log = File::create(self.log)
            .with_context(|| format!("cannot write {}", self.log.display()))?;
        let (said, ending) =
            watch(&chunks, limits, |chunk| log.write_all(chunk).context("cannot write the log"))?;
        drop(process);
        let said = String::from_utf8_lossy(&said);
        Ok(console::judge(&said, &nonce, self.suites, ending))
    }

    fn command(&self, nonce: &str) -> Command {
        let append = format!("{KERNEL_ARGUMENTS} vm.nonce={nonce} {}", self.append);
        let mut qemu = shell::command("qemu-system-x86_64");
        qemu.args(self.accelerator.options())
            .args(["-m", MEMORY, "-smp", CPUS, "-nodefaults", "-no-reboot", "-display", "none"])
            .args(["-serial", "stdio", "-append", append.trim_end()])
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(self.image)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        qemu
    }
}

// === impl Process ===

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already, or has to.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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
