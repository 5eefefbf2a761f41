//! What runs inside the lab's namespaces: services of pods, a stand-in for flanneld, and traffic
//! generators for hands-on trials.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
};

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use tracer_tests::{
    deaf,
    lab::{LOCK_WAIT, Lab},
    plan::{DNS_NAME, ECHO_PORT, Plan, SINK_PORT, SYSLOG_PORT},
    relay::{self, End},
    seed::Shape,
    service,
    traffic::{Flow, Limits, Stop},
};

/// What runs inside the lab's namespaces.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve as a pod: UDP and TCP echo, a TCP sink, a UDP sink.
    Serve,
    /// Do nothing, for ever.
    Idle {
        /// Move into this cgroup first.
        #[arg(long)]
        cgroup: Option<PathBuf>,
        /// Use so many bytes of memory.
        #[arg(long, default_value_t = 0)]
        hold: usize,
    },
    /// Have a UDP port, and never read from it.
    Deaf {
        #[arg(long)]
        port: u16,
    },
    /// Carry packets between TUN devices, each NAMESPACE,DEVICE,ADDRESS..
    Relay {
        /// The devices, and the addresses that lie behind each of them.
        ends: Vec<End>,
    },
    /// Bring a lab up, say so, and hold it until a signal comes.
    Hold {
        /// What the lab is drawn from.
        #[arg(long)]
        seed: u64,
    },
    /// ICMP echo.
    Ping {
        to: IpAddr,
        #[arg(long, default_value_t = 64)]
        ttl: u8,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// UDP datagrams that the pod echoes.
    UdpEcho {
        to: IpAddr,
        #[arg(long, default_value_t = ECHO_PORT)]
        port: u16,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// UDP datagrams that nobody answers.
    UdpOneWay {
        to: IpAddr,
        #[arg(long, default_value_t = SYSLOG_PORT)]
        port: u16,
        /// Bytes of payload.
        #[arg(long, default_value_t = 120)]
        size: usize,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// Connections with a small exchange.
    TcpExchange {
        to: IpAddr,
        #[arg(long, default_value_t = ECHO_PORT)]
        port: u16,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// Connections that carry many bytes.
    TcpBulk {
        to: IpAddr,
        #[arg(long, default_value_t = SINK_PORT)]
        port: u16,
        /// Bytes of one transfer.
        #[arg(long, default_value_t = 100 << 20)]
        bytes: u64,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// DNS queries.
    Dns {
        server: IpAddr,
        #[arg(long, default_value = DNS_NAME)]
        name: String,
        #[command(flatten)]
        limits: LimitArgs,
    },
}

#[derive(Debug, Args)]
struct LimitArgs {
    /// Attempts a second.
    #[arg(long, default_value_t = 5.0)]
    rate: f64,
    /// Attempts altogether.
    #[arg(long)]
    count: Option<u64>,
    /// The longest that it may last.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

// === impl LimitArgs ===

impl From<LimitArgs> for Limits {
    fn from(LimitArgs { rate, count, seconds }: LimitArgs) -> Self {
        Self { rate, count, seconds }
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let (flow, limits) = match command {
        Command::Serve => return service::serve(),
        Command::Idle { cgroup, hold } => return hold_memory(cgroup.as_deref(), hold),
        Command::Deaf { port } => {
            let _socket = deaf::socket(port)?;
            idle()
        }
        Command::Relay { ends } => return relay::run(&ends),
        Command::Hold { seed } => return hold(seed),
        Command::Ping { to, ttl, limits } => (Flow::Ping { to, ttl }, limits),
        Command::UdpEcho { to, port, limits } => {
            (Flow::UdpEcho { to: SocketAddr::new(to, port) }, limits)
        }
        Command::UdpOneWay { to, port, size, limits } => {
            (Flow::UdpOneWay { to: SocketAddr::new(to, port), size }, limits)
        }
        Command::TcpExchange { to, port, limits } => {
            (Flow::TcpExchange { to: SocketAddr::new(to, port) }, limits)
        }
        Command::TcpBulk { to, port, bytes, limits } => {
            (Flow::TcpBulk { to: SocketAddr::new(to, port), bytes }, limits)
        }
        Command::Dns { server, name, limits } => {
            (Flow::Dns { server: SocketAddr::new(server, 53), name }, limits)
        }
    };
    let counts = flow.generate(limits.into(), &Stop::default())?;
    println!("{}", serde_json::to_string(&counts).context("counts as JSON")?);
    Ok(())
}

/// SIGINT and SIGTERM end it, and take the lab down first.
fn hold(seed: u64) -> Result<()> {
    let _lab = Lab::up(Plan::draw(seed, &Shape::default()), LOCK_WAIT)?;
    println!("up");
    idle()
}

fn hold_memory(cgroup: Option<&Path>, bytes: usize) -> Result<()> {
    if let Some(cgroup) = cgroup {
        let processes = cgroup.join("cgroup.procs");
        fs::write(&processes, "0").with_context(|| processes.display().to_string())?;
    }
    // Only pages that were written to are used.
    let held = vec![1_u8; bytes];
    std::hint::black_box(&held);
    idle()
}

fn idle() -> ! {
    loop {
        thread::park();
    }
}
