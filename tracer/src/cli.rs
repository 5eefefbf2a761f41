//! The command line: names and defaults of the contract, and nothing else.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use tracer::{
    diagnose::{Ignored, Severity},
    evidence::Platform,
    filter::FlowFilter,
    kernel::AttachMode,
};

/// Says why pods on one node cannot reach pods on another, in a flannel VXLAN cluster.
#[derive(Debug, Parser)]
#[command(name = "flannel-tracer", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// How much the tracer says of its own doings, on stderr.
    #[arg(long, global = true, value_name = "LEVEL", default_value = "warn")]
    pub(crate) log_level: tracing::Level,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Look at this node for a few seconds and say what is broken, why, and how to repair it.
    Check(Box<CheckArgs>),
    /// Each feature on, degraded or off on this kernel with these privileges, and why.
    Capabilities(CapabilitiesArgs),
    /// Remove what a killed tracer left on kernels without TCX.
    Cleanup,
    /// The daemon: watch, tell events on stdout and serve metrics, until stopped.
    Run(Box<RunArgs>),
    /// Stream drops and findings as they come, as text or JSON lines, until stopped.
    Watch(Box<WatchArgs>),
    /// Live view in the terminal (not built yet).
    Top(NotBuilt),
    /// Write an incident bundle (not built yet).
    Record(NotBuilt),
}

/// A command that this version does not have: it takes anything, so that it can say so.
#[derive(Debug, Args)]
pub(crate) struct NotBuilt {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _anything: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CapabilitiesArgs {
    /// Form of the answer.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Form of the answer; with json stdout carries JSON only.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// How long to look; 0 looks at the tables only, at once.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Write the evidence that was judged to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// Judge saved evidence instead of this node; needs no privileges. Given several times, the
    /// evidence of several nodes is judged together.
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "duration", "attach", "dns_timeout", "overlay", "bridge", "uplink", "cluster_cidr",
        "service_cidr", "subnet_env", "peers", "vip", "vip_interface", "platform", "probe",
    ])]
    pub(crate) from: Vec<PathBuf>,
    /// Severity from which a finding makes the exit status 1.
    #[arg(long, value_name = "SEVERITY", default_value = "warning", value_parser = fail_on)]
    pub(crate) fail_on: Severity,
    /// List only flows and drops of which all is true that is given, of 'peer=… source=…
    /// destination=… port=… protocol=…'; everything is judged. Addresses are of packets or of their
    /// nodes, and may be networks.
    #[arg(long, value_name = "FILTER")]
    pub(crate) flow: Option<FlowFilter>,
    /// Send packets of several sizes to the node of each peer, through the tunnel, and tell which are
    /// lost. Takes a moment, and half a minute where some are; without it nothing is sent.
    #[arg(long)]
    pub(crate) probe: bool,
    #[command(flatten)]
    pub(crate) look: LookArgs,
    /// An option of the contract that is the daemon's.
    #[arg(long, value_name = "ADDR", hide = true)]
    pub(crate) listen: Option<String>,
    /// An option of the contract that is of others.
    #[arg(long, value_name = "N", hide = true)]
    pub(crate) sample: Option<String>,
}

/// Which packets are shown.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct SampleArgs {
    /// Tell also of the first 128 bytes of one packet in N of each stage, and of the first 4 packets
    /// of every anomaly.
    #[arg(long, value_name = "N", value_parser = sample)]
    pub(crate) sample: Option<NonZeroU32>,
    /// Tell of sampled DNS messages also which name they ask for, where it is among these bytes.
    #[arg(long, requires = "sample")]
    pub(crate) dns_names: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Form of the events; with json each is a line of JSON.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// How long to watch; without it until stopped.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) duration: Option<Duration>,
    /// Tell only of drops of which all is true that is given, of 'peer=… source=… destination=…
    /// port=… protocol=…', and of findings that may concern such packets. Addresses are of packets
    /// or of their nodes, and may be networks.
    #[arg(long, value_name = "FILTER")]
    pub(crate) flow: Option<FlowFilter>,
    #[command(flatten)]
    pub(crate) samples: SampleArgs,
    #[command(flatten)]
    pub(crate) look: LookArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Form of the events on stdout.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Where /metrics, /healthz and /readyz are served.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:19469")]
    pub(crate) listen: SocketAddr,
    /// How many flows that lose packets have a series of their own, at most.
    #[arg(long, value_name = "K", default_value_t = 100)]
    pub(crate) top_flows: usize,
    #[command(flatten)]
    pub(crate) samples: SampleArgs,
    #[command(flatten)]
    pub(crate) look: LookArgs,
    /// An option of the contract that is of others.
    #[arg(long, hide = true)]
    pub(crate) flow: Option<String>,
}

/// How `check`, `watch` and `run` look at a node.
#[derive(Debug, Args)]
pub(crate) struct LookArgs {
    /// Leave out findings of this code, or of this code and subject.
    #[arg(long, value_name = "CODE[=SUBJECT]")]
    pub(crate) ignore: Vec<Ignored>,
    /// How to attach the programs.
    #[arg(long, value_enum, default_value_t = AttachMode::Auto)]
    pub(crate) attach: AttachMode,
    /// How long a DNS server may take for its answer, up to a minute.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = dns_timeout)]
    dns_timeout: Duration,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    #[command(flatten)]
    pub(crate) later: LaterArgs,
}

/// What is detected when it is not given.
#[derive(Debug, Args)]
#[command(next_help_heading = "What is detected when not given")]
pub(crate) struct NodeArgs {
    /// flannel's VXLAN device.
    #[arg(long, value_name = "IF")]
    pub(crate) overlay: Option<String>,
    /// The bridge that holds the pod subnet.
    #[arg(long, value_name = "IF")]
    pub(crate) bridge: Option<String>,
    /// A device by which peers are reached; repeatable.
    #[arg(long, value_name = "IF")]
    pub(crate) uplink: Vec<String>,
    /// The cluster's pod network; repeatable.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub(crate) cluster_cidr: Vec<IpNet>,
    /// The cluster's service network; repeatable.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub(crate) service_cidr: Vec<IpNet>,
    /// flannel's subnet file; a path that does not exist means that there is none. Not given, it is
    /// looked for in /run/flannel, here and in the file system of process 1.
    #[arg(long, value_name = "PATH")]
    pub(crate) subnet_env: Option<PathBuf>,
    /// A line a peer: POD_CIDR NODE_IP [VTEP_MAC [NAME]].
    #[arg(long, value_name = "FILE")]
    pub(crate) peers: Option<PathBuf>,
    /// The address of a load balancer, of which to tell who asks for it and who answers; repeatable.
    /// Those that nodes of the cluster announce are found.
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    pub(crate) vip: Vec<IpAddr>,
    /// A device on which such addresses are, beside the uplinks; repeatable.
    #[arg(long, value_name = "IF")]
    pub(crate) vip_interface: Vec<String>,
    /// What runs Kubernetes here: decides the words of a repair.
    #[arg(long, value_name = "NAME", value_parser = platform)]
    pub(crate) platform: Option<Platform>,
    /// Do not ask the API server (this version never does).
    #[arg(long)]
    pub(crate) no_kube: bool,
    /// Do not use a local daemon's history (this version never does).
    #[arg(long)]
    pub(crate) no_daemon: bool,
}

/// Options of the contract whose feature is not built yet: each answers with one line.
#[derive(Debug, Args)]
#[command(next_help_heading = "Not built yet")]
pub(crate) struct LaterArgs {
    #[arg(long, value_name = "PATH", hide = true)]
    kubeconfig: Option<PathBuf>,
    #[arg(long, value_name = "FILE", hide = true)]
    config: Option<PathBuf>,
}

/// Form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

// === impl CheckArgs ===

impl CheckArgs {
    /// The first option that was given although `check` does not have it.
    pub(crate) fn not_built(&self) -> Option<&'static str> {
        self.look.later.first().or_else(|| self.listen.as_ref().map(|_| "--listen"))
    }
}

// === impl LookArgs ===

impl LookArgs {
    /// How long a DNS server may take, in the programs' unit.
    pub(crate) fn dns_timeout_milliseconds(&self) -> u32 {
        u32::try_from(self.dns_timeout.as_millis()).unwrap_or(u32::MAX)
    }
}

// === impl LaterArgs ===

impl LaterArgs {
    /// The first option that was given although its feature is not built.
    pub(crate) fn first(&self) -> Option<&'static str> {
        [(self.kubeconfig.is_some(), "--kubeconfig"), (self.config.is_some(), "--config")]
            .into_iter()
            .find_map(|(given, name)| given.then_some(name))
    }
}

/// A time such as `5s`, `500ms` or `1m30s`, up to an hour; a bare 0 needs no unit.
fn duration(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(3600);
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let parsed = time(text)?;
    if parsed > LONGEST { Err("at most 1h".to_owned()) } else { Ok(parsed) }
}

/// A time such as `5s`, `500ms` or `1m30s`.
fn time(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| format!("'{text}' is not a time: write it like 5s, 500ms or 1m30s"))
}

/// A time such as `2s` or `500ms`.
fn dns_timeout(text: &str) -> Result<Duration, String> {
    const BOUNDS: std::ops::RangeInclusive<Duration> =
        Duration::from_millis(1)..=Duration::from_secs(60);
    let parsed = time(text)?;
    if BOUNDS.contains(&parsed) { Ok(parsed) } else { Err("from 1ms to 1m".to_owned()) }
}

/// One packet in so many.
fn sample(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| format!("'{text}': write a number from 1 to {}", u32::MAX))
}

fn fail_on(text: &str) -> Result<Severity, String> {
    match text {
        "warning" => Ok(Severity::Warning),
        "critical" => Ok(Severity::Critical),
        _ => Err("write warning or critical".to_owned()),
    }
}

fn platform(text: &str) -> Result<Platform, String> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|_| {
        "write k3s-server, k3s-agent, rke2-server, rke2-agent, talos, kubeadm or unknown".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_are_written_as_people_write_them() {
        for (text, seconds) in [("0", 0.0), ("5s", 5.0), ("500ms", 0.5), ("1m30s", 90.0)] {
            assert_eq!(duration(text).map(|time| time.as_secs_f64()), Ok(seconds));
        }
        for text in ["", "5", "-1s", "x", "2h", "5 parsecs"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_watch_may_last_long_and_takes_a_filter() {
        let args =
            ["flannel-tracer", "watch", "--duration", "8h", "--flow", "port=53 protocol=udp"];
        let Command::Watch(watch) = Cli::try_parse_from(args).unwrap().command else {
            panic!("not watch")
        };
        assert_eq!(watch.duration, Some(Duration::from_secs(8 * 3600)));
        assert_eq!(watch.flow.map(|it| it.to_string()).as_deref(), Some("port=53 protocol=udp"));
        let error = Cli::try_parse_from(["flannel-tracer", "check", "--flow", "port=dns"]);
        assert!(error.unwrap_err().to_string().contains("write a number from 1 to 65535"));
    }

    #[test]
    fn one_packet_in_none_is_no_sample() {
        let given = |number| Cli::try_parse_from(["flannel-tracer", "watch", "--sample", number]);
        let Command::Watch(watch) = given("1000").unwrap().command else { panic!("not watch") };
        assert_eq!(watch.samples.sample, NonZeroU32::new(1000));
        for number in ["0", "4294967296", "all"] {
            let error = given(number).unwrap_err().to_string();
            assert!(error.contains("write a number from 1 to 4294967295"), "{error}");
        }
    }

    #[test]
    fn names_are_told_of_samples_only() {
        let parse =
            |args: &[&str]| Cli::try_parse_from([&["flannel-tracer", "watch"], args].concat());
        assert!(parse(&["--sample", "10", "--dns-names"]).is_ok());
        let error = parse(&["--dns-names"]).unwrap_err().to_string();
        assert!(error.contains("--sample"), "{error}");
    }

    #[test]
    fn an_option_that_is_not_built_is_named() {
        let args = ["flannel-tracer", "check", "--kubeconfig", "/etc/kubernetes/admin.conf"];
        let Command::Check(check) = Cli::try_parse_from(args).unwrap().command else {
            panic!("not check")
        };
        assert_eq!(check.not_built(), Some("--kubeconfig"));
    }
}
