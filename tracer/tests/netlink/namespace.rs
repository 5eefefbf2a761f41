//! A network namespace that lives as long as its guard.

use std::{
    process::Command,
    sync::mpsc::{Sender, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::gettid,
};
use serde_json::Value;

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own, which has no name and ends with the thread.
pub(crate) struct Namespace {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// Thread id: `ip link set … netns ID` moves a device here.
    pub(crate) id: i32,
}

impl Namespace {
    /// Panics with what to do when that is not allowed.
    pub(crate) fn new() -> Self {
        let (jobs, inbox) = channel::<Job>();
        let (ready, answer) = channel();
        let thread = std::thread::spawn(move || {
            let made = unshare(CloneFlags::CLONE_NEWNET).map(|()| gettid().as_raw());
            ready.send(made).unwrap();
            inbox.iter().for_each(|job| job());
        });
        let id = answer.recv().unwrap().unwrap_or_else(|error| {
            panic!("cannot make a network namespace ({error}): run the tests as root")
        });
        Self { jobs: Some(jobs), thread: Some(thread), id }
    }

    /// Runs `job` inside. A panic there is a panic here.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        let job: Job = Box::new(move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
            done.send(outcome).unwrap();
        });
        self.jobs.as_ref().unwrap().send(job).unwrap();
        result.recv().unwrap().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs shell lines inside, each of which must succeed.
    pub(crate) fn shell(&self, lines: &str) {
        let lines = format!("set -e\n{lines}");
        self.run(move || {
            let output = Command::new("sh").args(["-c", &lines]).output().unwrap();
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{lines}\n{words}");
        });
    }

    /// The JSON array that a command of iproute2 prints.
    pub(crate) fn json(&self, command: &str) -> Vec<Value> {
        let command = command.to_owned();
        self.run(move || {
            let output = Command::new("sh").args(["-c", &command]).output().unwrap();
            assert!(output.status.success(), "{command}: {output:?}");
            // Nothing to show is nothing printed.
            let text =
                if output.stdout.trim_ascii().is_empty() { b"[]" } else { &output.stdout[..] };
            serde_json::from_slice(text).unwrap()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            // Only panics when a job did, which was reported then.
            let _ = thread.join();
        }
    }
}

/// Waits for `what` to come true and panics when it has not by the deadline.
pub(crate) fn poll_until(what: &str, deadline: Duration, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < deadline, "{what}: not within {deadline:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
