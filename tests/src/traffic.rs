//! Traffic generators: bounded in count and time, tireless while the network is broken, and honest
//! about what came back.

mod announce;
mod background;
mod capture;
mod dns;
mod flood;
mod frames;
mod icmp;
mod multicast;
mod origins;
mod pace;
mod tcp;
mod udp;

use std::{
    net::{IpAddr, SocketAddr, SocketAddrV4},
    ops::AddAssign,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use serde::{Deserialize, Serialize};

pub use self::{
    background::{all_pairs, hosts_to_pods, load, pods_to_pods, with_hosts},
    origins::NETWORK as MANY_SOURCES,
    pace::Stop,
};
use crate::{netns, size};

/// How long a generator waits for one answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(200);
/// Packets a second where programs are interpreted: with more, the kernel's queues overflow
/// (net.core.netdev_max_backlog).
const SMALL_RATE: f64 = 250.0;

/// One kind of traffic to one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Flow {
    /// ICMP echo; `ttl` 64 unless a traceroute is played.
    Ping {
        /// The pinged address.
        to: IpAddr,
        /// Time to live of the requests.
        ttl: u8,
    },
    /// A datagram that is echoed, one flow all the time.
    UdpEcho {
        /// An echo service.
        to: SocketAddr,
    },
    /// A datagram that nobody answers: syslog, or an exact burst.
    UdpOneWay {
        /// The receiver.
        to: SocketAddr,
        /// Bytes of payload.
        size: usize,
    },
    /// Datagrams that nobody answers, each from a port of its own: a new flow every time.
    UdpManyFlows {
        /// The receiver.
        to: SocketAddr,
        /// The source port of the first one; the next ones count up.
        first_port: u16,
    },
    /// Datagrams that nobody answers, each from an address of its own, none of which is the sender's:
    /// a million of them at most.
    UdpManySources {
        /// The receiver.
        to: SocketAddrV4,
    },
    /// A connection that is opened, used for one exchange and closed.
    TcpExchange {
        /// An echo service.
        to: SocketAddr,
    },
    /// A connection that carries many bytes one way; the sink confirms how many.
    TcpBulk {
        /// A sink.
        to: SocketAddr,
        /// Bytes of one transfer.
        bytes: u64,
    },
    /// A query for an address, from a new port each time.
    Dns {
        /// The DNS server.
        server: SocketAddr,
        /// The name asked for.
        name: String,
    },
    /// The same from one port all the time: one flow.
    DnsFromOnePort {
        /// The DNS server.
        server: SocketAddr,
        /// The name asked for.
        name: String,
    },
    /// The same without waiting for answers, as quick as the limits allow; how many queries is left
    /// to them.
    DnsFlood {
        /// The DNS server.
        server: SocketAddr,
        /// From so many ports.
        ports: u16,
        /// With so many identifiers each, which come again in turn.
        identifiers: u32,
    },
    /// What MetalLB sends on every interface of an address that it takes: gratuitous ARP, a request and
    /// a reply, or an unsolicited neighbour advertisement.
    Announcement {
        /// The device it leaves by.
        device: String,
        /// The announced address; the announced MAC is the device's.
        address: IpAddr,
    },
    /// A frame as it is, whatever is wrong with it; nobody waits for an answer.
    Frames {
        /// The device it leaves by.
        device: String,
        /// With its Ethernet header.
        frame: Vec<u8>,
    },
    /// Nothing is sent: a packet socket listens on all devices, as `tcpdump -i any` does.
    Capture,
    /// IPv6 multicast of a device's own.
    Multicast6 {
        /// The device it leaves by.
        device: String,
    },
}

/// How much, and how fast.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Attempts a second.
    pub rate: f64,
    /// Attempts altogether; `None` is bounded by `seconds` alone.
    pub count: Option<u64>,
    /// The longest that it may last.
    pub seconds: f64,
}

/// One generator and where it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sender {
    /// The namespace it sends from.
    pub namespace: String,
    /// What it sends.
    pub flow: Flow,
    /// How much.
    pub limits: Limits,
}

/// What became of it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Attempts.
    pub sent: u64,
    /// Attempts that were answered rightly and in time.
    pub answered: u64,
    /// Attempts that failed with an error other than silence.
    pub errors: u64,
    /// Bytes of payload that the other side confirmed.
    pub bytes: u64,
}

/// Generators at work; dropping it stops them.
#[derive(Debug)]
pub struct Traffic {
    stop: Arc<Stop>,
    running: Vec<(Sender, JoinHandle<Result<Counts>>)>,
}

// === impl Flow ===

impl Flow {
    /// Generates this traffic in the namespace of the calling thread.
    ///
    /// # Errors
    /// When a socket cannot be made; never because the network is broken.
    pub fn generate(&self, limits: Limits, stop: &Stop) -> Result<Counts> {
        match self {
            Self::Ping { to, ttl } => icmp::ping(*to, *ttl, limits, stop),
            Self::UdpEcho { to } => udp::echo(*to, limits, stop),
            Self::UdpOneWay { to, size } => udp::one_way(*to, *size, limits, stop),
            Self::UdpManyFlows { to, first_port } => {
                udp::many_flows(*to, *first_port, limits, stop)
            }
            Self::UdpManySources { to } => origins::send(*to, limits, stop),
            Self::TcpExchange { to } => tcp::exchange(*to, limits, stop),
            Self::TcpBulk { to, bytes } => tcp::bulk(*to, *bytes, limits, stop),
            Self::Dns { server, name } => dns::query(*server, name, limits, stop),
            Self::DnsFromOnePort { server, name } => {
                dns::query_from_one_port(*server, name, limits, stop)
            }
            Self::DnsFlood { server, ports, identifiers } => {
                flood::send(*server, *ports, *identifiers, limits, stop)
            }
            Self::Announcement { device, address } => {
                announce::announce(device, *address, limits, stop)
            }
            Self::Frames { device, frame } => frames::send(device, frame, limits, stop),
            Self::Capture => capture::listen(limits, stop),
            Self::Multicast6 { device } => multicast::send(device, limits, stop),
        }
    }
}

// === impl Limits ===

impl Limits {
    /// So many a second until it is stopped, or nobody has stopped it for long.
    #[must_use]
    pub fn steady(rate: f64) -> Self {
        Self { rate, count: None, seconds: forgotten() }
    }

    /// Exactly so many, and none too early to be taken where programs are interpreted.
    #[must_use]
    pub fn exactly(count: u64, rate: f64) -> Self {
        let rate = rate.min(size::of(f64::INFINITY, SMALL_RATE));
        Self { rate, count: Some(count), seconds: forgotten() }
    }
}

/// After so many seconds no test wants its traffic any more.
fn forgotten() -> f64 {
    size::of(300.0, 3000.0)
}

// === impl Counts ===

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.answered += other.answered;
        self.errors += other.errors;
        self.bytes += other.bytes;
    }
}

// === impl Traffic ===

impl Traffic {
    /// Starts a thread in its namespace for each sender.
    #[must_use]
    pub fn start(senders: Vec<Sender>) -> Self {
        let stop = Arc::new(Stop::default());
        let running = senders.into_iter().map(|sender| start(sender, &stop)).collect();
        Self { stop, running }
    }

    /// Waits until all have reached their limits.
    ///
    /// # Errors
    /// The first sender that could not send at all.
    pub fn finish(mut self) -> Result<Vec<(Sender, Counts)>> {
        collect(std::mem::take(&mut self.running))
    }

    /// Stops all and says what became of them.
    ///
    /// # Errors
    /// The first sender that could not send at all.
    pub fn stop(mut self) -> Result<Vec<(Sender, Counts)>> {
        self.stop.now();
        collect(std::mem::take(&mut self.running))
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.now();
        // What they counted is of no interest to someone who drops them.
        drop(collect(std::mem::take(&mut self.running)));
    }
}

fn start(sender: Sender, stop: &Arc<Stop>) -> (Sender, JoinHandle<Result<Counts>>) {
    let (own, stop) = (sender.clone(), Arc::clone(stop));
    let handle = thread::spawn(move || {
        netns::enter(&own.namespace)?;
        own.flow
            .generate(own.limits, &stop)
            .with_context(|| format!("{:?} from {}", own.flow, own.namespace))
    });
    (sender, handle)
}

fn collect(running: Vec<(Sender, JoinHandle<Result<Counts>>)>) -> Result<Vec<(Sender, Counts)>> {
    // All are joined before the first error is passed on.
    let ended: Vec<_> = running.into_iter().map(|(sender, it)| (sender, it.join())).collect();
    ended
        .into_iter()
        .map(|(sender, joined)| {
            let counts = joined.map_err(|_| anyhow!("the generator {sender:?} panicked"))??;
            Ok((sender, counts))
        })
        .collect()
}
