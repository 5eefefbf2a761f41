//! A Prometheus server in the network of the lab's nodes.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddrV4},
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tracer_tests::{daemon, netns, poll::poll_until, process};

/// Names the program; `cargo xtask setup` brings it.
const PROGRAM: &str = "FLANNEL_TRACER_PROMETHEUS";
const ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9090);
/// How long it may take to begin.
const START: Duration = Duration::from_secs(30);

/// A server, until dropped.
pub(crate) struct Prometheus {
    child: Child,
    folder: TempDir,
}

/// A series of an answer: its labels, and its value.
pub(crate) type Series = (BTreeMap<String, String>, f64);

// === impl Prometheus ===

impl Prometheus {
    /// Scrapes these addresses, every second, from the client of the LAN.
    pub(crate) fn of(targets: &[SocketAddrV4]) -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder")?;
        let targets: Vec<String> = targets.iter().map(|it| format!("'{it}'")).collect();
        let configuration = format!(
            "global: {{scrape_interval: 1s}}\n\
             scrape_configs: [{{job_name: flannel-tracer, static_configs: [{{targets: [{}]}}]}}]\n",
            targets.join(", ")
        );
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, configuration).context("the configuration")?;
        let program = std::env::var(PROGRAM).unwrap_or_else(|_| "prometheus".to_owned());
        let log = File::create(folder.path().join("log")).context("a log")?;
        let mut command = netns::command_in(netns::CLIENT, &program);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={ADDRESS}"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = process::start(netns::CLIENT, &mut command)
            .with_context(|| format!("{program}: `cargo xtask setup` brings it"))?;
        let server = Self { child, folder };
        poll_until("Prometheus to begin", START, || {
            let answer = daemon::get(netns::CLIENT, ADDRESS, "/-/ready", "*/*")?;
            ensure!(answer.status == 200, "{}", answer.body);
            Ok(())
        })
        .with_context(|| server.log())?;
        Ok(server)
    }

    /// What a query is answered now.
    pub(crate) fn query(&self, query: &str) -> Result<Vec<Series>> {
        let path = format!("/api/v1/query?query={}", encoded(query));
        let answer = daemon::get(netns::CLIENT, ADDRESS, &path, "*/*")
            .with_context(|| format!("{query}\n{}", self.log()))?;
        // Chunks are left as they come: an answer of the lab's size is one.
        let begin = answer.body.find('{').with_context(|| answer.body.clone())?;
        let mut values = serde_json::Deserializer::from_str(&answer.body[begin..]).into_iter();
        let json: Value = values.next().context("no answer")??;
        ensure!(json["status"] == "success", "{query}: {json}");
        let all = json["data"]["result"].as_array().context("no result")?;
        all.iter().map(series).collect::<Result<_>>().with_context(|| json.to_string())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn series(json: &Value) -> Result<Series> {
    let labels = json["metric"].as_object().context("no labels")?;
    let labels = labels.iter().map(|(name, value)| {
        Ok((name.clone(), value.as_str().context("a label is a text")?.to_owned()))
    });
    let value = json["value"][1].as_str().and_then(|it| it.parse().ok()).context("no value")?;
    Ok((labels.collect::<Result<_>>()?, value))
}

/// As a query string has it (RFC 3986, section 2).
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut path, byte| {
        if byte.is_ascii_alphanumeric() {
            path.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(path, "%{byte:02X}");
        }
        path
    })
}
