//! A check that looks until it is told to stop: for tests whose own course says how long.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStderr, Output, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    lab::Lab,
    process, size,
    tracer::{CheckOutput, Intent, tracer_command},
};

/// How long programs may take to be loaded and attached, on a busy machine.
const START: Duration = Duration::from_secs(20);
/// What the tracer says, at log level info, when it has read its counters for the first time: from
/// then on every packet counts. The hooks alone (`tc`, `bpftool net`) would be seen too early.
const COUNTING: &str = "counting from now on";
/// Longer than any test; the check ends by a signal.
const DURATION: &str = "10m";

/// A running check that counts. Dropping it kills the tracer.
#[derive(Debug)]
pub struct Watch {
    child: Child,
    stderr: Option<JoinHandle<String>>,
    directory: TempDir,
}

/// What a watch came to.
#[derive(Debug, Clone)]
pub struct Watched {
    /// What `check` answered.
    pub check: CheckOutput,
    /// The evidence that it judged, as `--save` wrote it.
    pub evidence: Value,
}

// === impl Lab ===

impl Lab {
    /// Starts `check` on a node and waits until it counts.
    ///
    /// # Errors
    /// When it does not come to count.
    pub fn watch(&self, node: usize, intent: Intent, extra: &[&str]) -> Result<Watch> {
        self.watch_for(DURATION, node, intent, extra)
    }

    /// The same for so long from when it counts: one that is ended by a signal is all first half, and
    /// what has to last is not told by it.
    ///
    /// # Errors
    /// When it does not come to count.
    pub fn watch_for(
        &self,
        duration: &str,
        node: usize,
        intent: Intent,
        extra: &[&str],
    ) -> Result<Watch> {
        let node = &self.plan().nodes[node];
        let directory = tempfile::tempdir().context("a directory for the evidence")?;
        let mut command = tracer_command(node)?;
        command
            .args(["check", "--format", "json", "--log-level", "info", "--duration", duration])
            .arg("--save")
            .arg(directory.path().join("evidence.json"))
            .args(intent.options(node))
            .args(extra)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = process::start(&node.namespace, &mut command)?;
        let stderr = child.stderr.take().context("a pipe was asked for")?;
        let (counting, is_counting) = channel();
        let stderr = thread::spawn(move || read(stderr, counting));
        let watch = Watch { child, stderr: Some(stderr), directory };
        watch.wait(&is_counting).with_context(|| format!("check on {}", node.name))
    }
}

// === impl Watch ===

impl Watch {
    /// Ends the check as an operator would, and takes its answer.
    ///
    /// # Errors
    /// When it gives none.
    pub fn end(self) -> Result<Watched> {
        self.end_by(Signal::SIGINT)
    }

    /// As [`Watch::end`], by another signal.
    ///
    /// # Errors
    /// When it gives no answer.
    pub fn end_by(self, signal: Signal) -> Result<Watched> {
        self.signal(signal)?;
        self.wait_for_end()
    }

    /// Waits until it ends by itself, and takes its answer.
    ///
    /// # Errors
    /// When it gives none.
    pub fn wait_for_end(mut self) -> Result<Watched> {
        let mut stdout = Vec::new();
        let mut pipe = self.child.stdout.take().context("a pipe was asked for")?;
        std::io::Read::read_to_end(&mut pipe, &mut stdout).context("the answer of check")?;
        let status = self.child.wait().context("check")?;
        let stderr = self.said().into_bytes();
        let check = CheckOutput::of(&Output { status, stdout, stderr })?;
        let path = self.directory.path().join("evidence.json");
        let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let evidence = serde_json::from_slice(&text).context("saved evidence")?;
        Ok(Watched { check, evidence })
    }

    /// Kills the tracer, which gets no chance to tidy up.
    ///
    /// # Errors
    /// When it has ended before.
    pub fn kill(mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        let status = self.child.wait().context("check")?;
        if status.code().is_some() {
            bail!("check had ended before it was killed: {status}, {}", self.said())
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).context("process id")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("{signal} to check"))
    }

    fn wait(mut self, is_counting: &Receiver<()>) -> Result<Self> {
        match is_counting.recv_timeout(size::patience(START)) {
            Ok(()) => Ok(self),
            Err(RecvTimeoutError::Disconnected) => {
                bail!("it ended before it counted, and said: {}", self.said())
            }
            Err(RecvTimeoutError::Timeout) => bail!("waited {START:?} for it to count"),
        }
    }

    fn said(&mut self) -> String {
        self.stderr.take().and_then(|reader| reader.join().ok()).unwrap_or_default()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // One that has ended by itself is only collected.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Reads all that the tracer says, and tells when it counts.
fn read(stderr: ChildStderr, counting: Sender<()>) -> String {
    let mut counting = Some(counting);
    let mut said = String::new();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if line.contains(COUNTING)
            && let Some(counting) = counting.take()
        {
            // Nobody waits any more when the start has taken too long.
            let _ = counting.send(());
        }
        said.push_str(&line);
        said.push('\n');
    }
    said
}
