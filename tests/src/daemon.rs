//! Runs the daemon or a watch on a node of the lab, reads its events, and scrapes it.

mod metrics;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

pub use self::metrics::Metrics;
use crate::{
    lab::Lab,
    netns,
    poll::poll_until,
    process, size,
    tracer::{Intent, tracer_command},
};

/// How long programs may take to be loaded and attached, on a busy machine.
const START: Duration = Duration::from_secs(20);
/// How long an answer over HTTP may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long the daemon may take to end.
pub const END: Duration = Duration::from_secs(5);
/// What a watch says, at log level info, when programs are attached and its first window has begun.
const WATCHING: &str = "watching from now on";
/// Where the daemon listens unless told otherwise.
const ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 19469);

/// A running daemon, or a watch. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    namespace: String,
    events: Arc<Mutex<Vec<Value>>>,
    readers: Vec<JoinHandle<()>>,
    said: Arc<Mutex<String>>,
}

/// What a client was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// 200 and so on.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: String,
    /// The rest.
    pub body: String,
}

/// How a daemon ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote to stderr.
    pub said: String,
    /// From the signal on, or since it was waited for.
    pub took: Duration,
}

// === impl Lab ===

impl Lab {
    /// Starts `run` on a node and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn daemon(&self, node: usize, intent: Intent, extra: &[&str]) -> Result<Daemon> {
        let arguments = [&["run", "--format", "json"], extra].concat();
        let mut daemon = self.start_daemon(node, intent, &arguments, |_| {})?;
        let name = &self.plan().nodes[node].name;
        daemon.wait_ready().with_context(|| format!("run on {name}"))?;
        Ok(daemon)
    }

    /// Starts `watch` on a node and waits until it watches.
    ///
    /// # Errors
    /// When it does not begin.
    pub fn watch_events(&self, node: usize, intent: Intent, extra: &[&str]) -> Result<Daemon> {
        self.watch_events_with(node, intent, extra, |_| {})
    }

    /// The same of a tracer that is started with less, see [`crate::less`].
    ///
    /// # Errors
    /// When it does not begin.
    pub fn watch_events_with(
        &self,
        node: usize,
        intent: Intent,
        extra: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Result<Daemon> {
        let arguments = [&["watch"], extra].concat();
        let mut watch = self.start_daemon(node, intent, &arguments, prepare)?;
        let name = &self.plan().nodes[node].name;
        watch.wait_watching().with_context(|| format!("watch on {name}"))?;
        Ok(watch)
    }

    fn start_daemon(
        &self,
        node: usize,
        intent: Intent,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Result<Daemon> {
        let node = &self.plan().nodes[node];
        let mut command = tracer_command(node)?;
        command
            .args(arguments)
            .args(["--log-level", "info"])
            .args(intent.options(node))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        prepare(&mut command);
        let mut child = process::start(&node.namespace, &mut command)?;
        let stdout = child.stdout.take().context("a pipe was asked for")?;
        let stderr = child.stderr.take().context("a pipe was asked for")?;
        let (events, said) =
            (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(String::new())));
        let (to_events, to_said) = (events.clone(), said.clone());
        let readers = vec![
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                    lock(&to_events).push(event);
                }
            }),
            thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    lock(&to_said).push_str(&(line + "\n"));
                }
            }),
        ];
        let namespace = node.namespace.clone();
        Ok(Daemon { child, namespace, events, readers, said })
    }
}

// === impl Daemon ===

impl Daemon {
    /// The events so far; a line that is no JSON is a string among them.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        lock(&self.events).clone()
    }

    /// The events of a kind so far.
    #[must_use]
    pub fn events_of(&self, kind: &str) -> Vec<Value> {
        self.events().into_iter().filter(|event| event["kind"] == kind).collect()
    }

    /// What it has written to stderr so far.
    #[must_use]
    pub fn said(&self) -> String {
        lock(&self.said).clone()
    }

    /// The metrics now.
    ///
    /// # Errors
    /// When they are not served.
    pub fn scrape(&self) -> Result<Metrics> {
        let answer = self.get("/metrics", "text/plain")?;
        ensure!(answer.status == 200, "{answer:?}");
        Metrics::parse(&answer.body)
    }

    /// Asks for a path.
    ///
    /// # Errors
    /// When nothing answers.
    pub fn get(&self, path: &str, accept: &str) -> Result<Answer> {
        get(&self.namespace, ADDRESS, path, accept)
    }

    /// Its process id.
    ///
    /// # Errors
    /// Never in practice.
    pub fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id()).context("process id")?))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid()?, signal).with_context(|| format!("{signal} to the daemon"))
    }

    /// Ends it and waits for that.
    ///
    /// # Errors
    /// When it does not end within [`END`].
    pub fn end_by(self, signal: Signal) -> Result<Ended> {
        self.signal(signal)?;
        self.wait(END).map(|(ended, _)| ended)
    }

    /// Waits until it ends by itself; how, and what it had told.
    ///
    /// # Errors
    /// When it does not end within `patience`.
    pub fn wait(mut self, patience: Duration) -> Result<(Ended, Vec<Value>)> {
        let begin = Instant::now();
        let status = poll_until("the daemon to end", patience, || {
            self.child.try_wait().context("wait")?.context("it still runs")
        })?;
        let took = begin.elapsed();
        for reader in self.readers.drain(..) {
            // Its pipe has ended with the daemon.
            let _ = reader.join();
        }
        Ok((Ended { status, said: self.said(), took }, self.events()))
    }

    /// A field of `/proc/PID/status` in bytes, such as `VmRSS`.
    ///
    /// # Errors
    /// When there is no such field.
    pub fn memory(&self, field: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid()?);
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kib.with_context(|| format!("no {field} in {path}"))? * 1024)
    }

    /// Processor time that it has taken.
    ///
    /// # Errors
    /// When /proc does not say.
    pub fn cpu(&self) -> Result<Duration> {
        let path = format!("/proc/{}/schedstat", self.pid()?);
        let mut nanoseconds = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()?))? {
            let text = fs::read_to_string(task?.path().join("schedstat")).context(path.clone())?;
            let first = text.split_whitespace().next().context("an empty schedstat")?;
            nanoseconds += first.parse::<u64>().context("schedstat")?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    fn wait_ready(&mut self) -> Result<()> {
        self.wait_until("the daemon to be ready", |daemon| {
            let answer = daemon.get("/readyz", "*/*")?;
            ensure!(answer.status == 200, "{}", answer.body);
            Ok(())
        })
    }

    fn wait_watching(&mut self) -> Result<()> {
        self.wait_until("the watch to begin", |watch| {
            let said = watch.said();
            ensure!(said.contains(WATCHING), "it said: {said}");
            Ok(())
        })
    }

    fn wait_until(&mut self, what: &str, is_so: impl Fn(&Self) -> Result<()>) -> Result<()> {
        poll_until(what, START, || {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Err(format!("it ended with {status}, and said: {}", self.said())));
            }
            is_so(self).map(Ok)
        })?
        .or_else(|ended| bail!(ended))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that has ended by itself is only collected.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Asks an address for a path by HTTP, from within a namespace.
///
/// # Errors
/// When nothing answers.
pub fn get(namespace: &str, address: SocketAddrV4, path: &str, accept: &str) -> Result<Answer> {
    netns::run_in(namespace, || {
        let patience = size::patience(ANSWER);
        let mut stream = TcpStream::connect_timeout(&address.into(), patience)?;
        stream.set_read_timeout(Some(patience))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: lab\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text).context("the answer")?;
        Answer::read(&text)
    })
}

// === impl Answer ===

impl Answer {
    fn read(text: &str) -> Result<Self> {
        let (head, body) = text.split_once("\r\n\r\n").context("no end of the head")?;
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        let content_type = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-type").then(|| value.trim().to_owned())
        });
        let content_type = content_type.unwrap_or_default();
        Ok(Self { status: status.context("no status")?, content_type, body: body.to_owned() })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
