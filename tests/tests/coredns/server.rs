//! CoreDNS itself, in a pod.

use std::{
    fs::{self, File},
    net::SocketAddr,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tracer_tests::{
    netns,
    plan::{DNS_NAME, Pod},
    poll::poll_until,
    process,
};

/// Names the program; `cargo xtask test --tier lab` builds it.
const PROGRAM: &str = "FLANNEL_TRACER_COREDNS";
/// How long it may take to begin.
const START: Duration = Duration::from_secs(30);
/// What it says when it listens (coremain/run.go, CoreDNS 1.12.4).
const LISTENS: &str = "CoreDNS-";

/// A server, until dropped.
pub(crate) struct CoreDns {
    child: Child,
    _folder: TempDir,
}

// === impl CoreDns ===

impl CoreDns {
    /// Answers in a pod for the names of the cluster, and asks `upstream` for all others. It caches
    /// nothing, so that a query is a query.
    pub(crate) fn start(pod: &Pod, upstream: SocketAddr) -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder")?;
        let (file, log) = (folder.path().join("Corefile"), folder.path().join("log"));
        fs::write(&file, corefile(pod, upstream)).context("the Corefile")?;
        let program = std::env::var(PROGRAM).unwrap_or_else(|_| "coredns".to_owned());
        let mut command = netns::command_in(&pod.namespace, &program);
        let output = File::create(&log).context("a log")?;
        command
            .arg("-conf")
            .arg(&file)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("a log")?)
            .stderr(output);
        let child = process::start(&pod.namespace, &mut command).with_context(|| {
            format!("{program}: `cargo xtask test --tier lab` builds it, with Go")
        })?;
        let server = Self { child, _folder: folder };
        poll_until("CoreDNS to begin", START, || {
            let said = fs::read_to_string(&log).context("the log")?;
            ensure!(said.contains(LISTENS), "{said}");
            Ok(())
        })?;
        Ok(server)
    }
}

impl Drop for CoreDns {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// As Kubernetes has it, but that a template knows the names of the cluster, and not its API.
fn corefile(pod: &Pod, upstream: SocketAddr) -> String {
    let name = DNS_NAME.replace('.', "\\.");
    let (v4, v6) = (pod.ip.v4, pod.ip.v6);
    format!(
        ".:53 {{
    errors
    template IN ANY cluster.local {{
        match ^{name}\\.$
        answer \"{{{{ .Name }}}} 5 IN {{{{ if eq .Type `A` }}}}A {v4}{{{{ else }}}}AAAA {v6}{{{{ end }}}}\"
        fallthrough
    }}
    template IN ANY cluster.local {{
        rcode NXDOMAIN
    }}
    forward . {}
    loadbalance
}}
",
        upstream.ip()
    )
}
