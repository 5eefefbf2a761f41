//! A namespace that drops, and what is counted in it.

use std::{fs, net::UdpSocket, time::Duration};

use tracer::kernel::{DropOptions, DropReading, DropSession, DropVariant, PlaceReading};

use crate::namespace::{Namespace, poll_until};

/// How long a drop may take to be counted: it happens in a softirq, which may be put off.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// No program listens there.
pub(crate) const CLOSED: u16 = 9;
/// What drops at [`CLOSED`], by kernel.
pub(crate) const UDP_RECEIVE: [&str; 3] = ["__udp4_lib_rcv", "udp_rcv", "udp_unicast_rcv_skb"];

/// A namespace without IPv6, whose own packets would be dropped too, and a counting program in it.
pub(crate) struct Node {
    pub(crate) namespace: Namespace,
    session: Option<DropSession>,
}

// === impl Node ===

impl Node {
    /// Runs the lines in a fresh namespace whose loopback is up, then starts to count.
    pub(crate) fn new(lines: &str, options: DropOptions) -> Self {
        let namespace = quiet();
        namespace.shell(lines);
        Self::counting(namespace, options)
    }

    /// Starts to count in a namespace.
    pub(crate) fn counting(namespace: Namespace, options: DropOptions) -> Self {
        let session = namespace
            .run(move || DropSession::start(&options).unwrap_or_else(|error| panic!("{error}")));
        Self { namespace, session: Some(session) }
    }

    pub(crate) fn session(&self) -> &DropSession {
        self.session.as_ref().unwrap()
    }

    /// Reads the counts inside, where the names of devices are known.
    pub(crate) fn read(&mut self) -> DropReading {
        let mut session = self.session.take().unwrap();
        let (session, reading) = self.namespace.run(move || {
            let reading = session.read().unwrap();
            (session, reading)
        });
        self.session = Some(session);
        reading
    }

    /// Waits until as many packets are counted here, at whatever places; more are an error.
    pub(crate) fn read_when(&mut self, packets: u64) -> DropReading {
        self.read_when_besides("", packets)
    }

    /// The same, but for what a function of this name drops: before Linux 6.2 `icmpv6_rcv` frees what
    /// it has taken as if it had dropped it.
    pub(crate) fn read_when_besides(&mut self, symbol: &str, packets: u64) -> DropReading {
        let mut reading = self.read();
        poll_until(&format!("{packets} packets counted"), DEADLINE, || {
            reading = self.read();
            total(&reading, symbol) >= packets
        });
        assert_eq!(total(&reading, symbol), packets, "{reading:#?}");
        reading
    }
}

/// A fresh namespace without IPv6 whose loopback is up.
pub(crate) fn quiet() -> Namespace {
    let namespace = Namespace::new();
    namespace.shell(
        "for kind in all default; do
            file=/proc/sys/net/ipv6/conf/$kind/disable_ipv6
            test ! -e $file || echo 1 > $file
        done
        ip link set lo up",
    );
    namespace
}

/// Packets of this namespace.
fn total(reading: &DropReading, besides: &str) -> u64 {
    let places = reading.places.iter().filter(|it| it.symbol.as_deref() != Some(besides));
    reading.other + places.map(|place| place.packets).sum::<u64>()
}

/// Sends datagrams of the same bytes to an address, from a socket that hears no answer. Whether the
/// kernel refuses them at once is told by `refused`.
pub(crate) fn send(namespace: &Namespace, to: (&'static str, u16), bytes: &[u8], number: u64) {
    send_refused(namespace, to, bytes, number, false);
}

/// As [`send`]; with `refused` the kernel must refuse each datagram as an output firewall has it.
pub(crate) fn send_refused(
    namespace: &Namespace,
    to: (&'static str, u16),
    bytes: &[u8],
    number: u64,
    refused: bool,
) {
    let bytes = bytes.to_vec();
    namespace.run(move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for _ in 0..number {
            let sent = socket.send_to(&bytes, to);
            assert_eq!(sent.is_err(), refused, "{sent:?}");
        }
    });
}

/// The only place of a reading.
pub(crate) fn only(reading: &DropReading) -> &PlaceReading {
    assert_eq!((reading.places.len(), reading.other), (1, 0), "{reading:#?}");
    &reading.places[0]
}

/// Asserts the function that dropped, and its reason where the kernel has that one since `since`.
pub(crate) fn assert_named(
    count: &PlaceReading,
    symbols: &[&str],
    reason: &str,
    since: (u32, u32),
) {
    let symbol = count.symbol.as_deref().unwrap();
    assert!(symbols.contains(&symbol), "{symbol} is none of {symbols:?}");
    let kernel = kernel();
    if kernel >= since {
        assert_eq!(count.reason.as_deref(), Some(reason), "{count:?}");
    } else if kernel < (5, 17) {
        assert_eq!(count.reason, None, "{count:?}");
    } else {
        assert_eq!(count.reason.as_deref(), Some("NOT_SPECIFIED"), "{count:?}");
    }
}

/// Major and minor version.
pub(crate) fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Whether the kernel says that it hides its memory even from root.
pub(crate) fn is_confidential() -> bool {
    let lockdown = fs::read_to_string("/sys/kernel/security/lockdown");
    lockdown.is_ok_and(|text| text.contains("[confidentiality]"))
}

/// This program, on a node without pods.
pub(crate) fn options(variant: DropVariant) -> DropOptions {
    DropOptions { variant, ..DropOptions::default() }
}

/// This program, on a node whose tunnels of both IP versions have this UDP port.
pub(crate) fn tunnel(variant: DropVariant, port: u16) -> DropOptions {
    let mut config = DropOptions::default().config;
    config.v4.set_tunnel(1, port, 1450);
    config.v6.set_tunnel(1, port, 1430);
    DropOptions { variant, ..DropOptions::of(&config) }
}

/// The programs that this kernel allows.
pub(crate) fn allowed() -> Vec<DropVariant> {
    let mut variants = vec![DropVariant::Places];
    if !is_confidential() {
        variants.push(DropVariant::Packets);
    }
    variants
}
