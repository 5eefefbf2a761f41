//! Runs the production binary on nodes of the lab.

use std::{
    env,
    ffi::OsString,
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread,
};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

use crate::{lab::Lab, netns, plan::Node, process, size, state};

/// Names the tracer's binary.
pub const TRACER_VARIABLE: &str = "FLANNEL_TRACER_BIN";

/// How much the tracer is told about what flannel means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// Nothing but the tables: subnet.env does not exist.
    Nothing,
    /// flannel's subnet.env.
    SubnetEnv,
    /// subnet.env and a peers file.
    PeersFile,
}

/// What `check` answered.
#[derive(Debug, Clone)]
pub struct CheckOutput {
    /// Its exit status.
    pub status: i32,
    /// Its standard output.
    pub json: Value,
    /// Its notes.
    pub stderr: String,
}

// === impl Intent ===

impl Intent {
    /// All passes, from the least to the most.
    pub const ALL: [Self; 3] = [Self::Nothing, Self::SubnetEnv, Self::PeersFile];

    /// A short word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::SubnetEnv => "subnet.env",
            Self::PeersFile => "peers-file",
        }
    }

    /// The options of `check` that say it.
    #[must_use]
    pub fn options(self, node: &Node) -> Vec<OsString> {
        let subnet_env = match self {
            Self::Nothing => state::file("no-such-subnet.env"),
            Self::SubnetEnv | Self::PeersFile => state::subnet_env_path(node),
        };
        let mut options: Vec<OsString> = vec!["--subnet-env".into(), subnet_env.into()];
        if self == Self::PeersFile {
            options.extend(["--peers".into(), state::peers_path(node).into()]);
        }
        options
    }
}

// === impl CheckOutput ===

impl CheckOutput {
    /// Takes over what `check --format json` printed.
    ///
    /// # Errors
    /// When it is no report, or the tracer was ended by a signal.
    pub fn of(output: &Output) -> Result<Self> {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let json: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("check printed no JSON, but said: {stderr}"))?;
        if !json["findings"].is_array() {
            bail!("check printed JSON without findings, and said: {stderr}")
        }
        let status = output.status.code().context("check was ended by a signal")?;
        Ok(Self { status, json, stderr })
    }

    /// Code and `subject.key` of every finding.
    #[must_use]
    pub fn findings(&self) -> Vec<(&str, &str)> {
        let findings = self.json["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
        findings
            .iter()
            .map(|finding| {
                let code = finding["code"].as_str().unwrap_or("(no code)");
                (code, finding["subject"]["key"].as_str().unwrap_or("(no key)"))
            })
            .collect()
    }
}

/// Options where programs are interpreted, unless others are given: answers that are late there tell of
/// no fault.
const LATE: [&str; 2] = [DNS_TIMEOUT, "30s"];
/// How long a DNS server may take.
pub const DNS_TIMEOUT: &str = "--dns-timeout";

// === impl Lab ===

impl Lab {
    /// Runs `flannel-tracer check --format json` on a node and waits for its answer.
    ///
    /// # Errors
    /// When the binary is missing, or its standard output is not JSON.
    pub fn check(&self, node: usize, intent: Intent, extra: &[&str]) -> Result<CheckOutput> {
        let output = self.check_raw(node, intent, &[&["--format", "json"], extra].concat())?;
        CheckOutput::of(&output).with_context(|| format!("on {}", self.plan().nodes[node].name))
    }

    /// Runs `flannel-tracer check` on a node into pipes and waits for its end.
    ///
    /// # Errors
    /// When the binary is missing or cannot be run.
    pub fn check_raw(&self, node: usize, intent: Intent, extra: &[&str]) -> Result<Output> {
        let node = &self.plan().nodes[node];
        let mut command = tracer_command(node)?;
        command.arg("check").args(intent.options(node)).args(extra);
        if size::is_small() && !extra.contains(&DNS_TIMEOUT) {
            command.args(LATE);
        }
        process::run(
            &node.namespace,
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()),
        )
    }

    /// Runs [`Lab::check`] on several nodes at the same time; the answers come in their order.
    ///
    /// # Errors
    /// The first that gave no answer.
    pub fn check_all(
        &self,
        nodes: &[usize],
        intent: Intent,
        extra: &[&str],
    ) -> Result<Vec<CheckOutput>> {
        thread::scope(|scope| {
            let running: Vec<_> = nodes
                .iter()
                .map(|node| scope.spawn(move || self.check(*node, intent, extra)))
                .collect();
            running
                .into_iter()
                .map(|check| check.join().map_err(|_| anyhow!("a check panicked"))?)
                .collect()
        })
    }
}

/// The tracer in a node's namespace, to be given a command and options. `nsenter` and not
/// `ip netns exec`, which would mount another /sys.
///
/// # Errors
/// When the binary is missing.
pub fn tracer_command(node: &Node) -> Result<Command> {
    let mut command = netns::command_in(&node.namespace, "env");
    command.arg(format!("NODE_NAME={}", node.name)).arg(binary()?);
    Ok(command)
}

/// The tracer's binary: named by [`TRACER_VARIABLE`], else the release build of this workspace.
///
/// # Errors
/// When it is not there.
pub fn binary() -> Result<PathBuf> {
    let (path, advice) = match env::var_os(TRACER_VARIABLE) {
        Some(path) => (PathBuf::from(path), format!("{TRACER_VARIABLE} names no file")),
        None => {
            let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
            let advice = "run `cargo build --release -p tracer`".to_owned();
            (workspace.join("target/release/flannel-tracer"), advice)
        }
    };
    if !path.is_file() {
        bail!("no tracer at {}: {advice}", path.display())
    }
    Ok(path)
}
