//! `check --probe`: packets of several sizes to the node of each peer, through the tunnel.
//!
//! Each is a UDP datagram to a port where nobody listens, at an address of the peer's node in the pod
//! network, and may not be sent in fragments inside the tunnel. The node answers with "port
//! unreachable", which is short however large the datagram was (it quotes up to 576 bytes, by IPv6 up to
//! 1280): a size that is not answered was lost on the way there. Kernels limit these answers to six at
//! once and one a second after that (`icmp_ratelimit`, net/ipv4/icmp.c, Linux 6.18), so a large packet is
//! waited for before the next small one is sent.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use tokio::{net::UdpSocket, task::JoinSet, time::timeout};

use crate::{
    evidence::{Family, PeerProbe, ProbedSize},
    topology::{Peer, Topologies, Topology, nth_address},
};

/// Traceroute's first port; nothing is registered there or behind (IANA).
const PORT: u16 = 33_434;
/// Packets that pass any path, bytes.
const SMALL: u32 = 128;
/// Packets of the smallest and of the full size.
const TRIES: u32 = 4;
/// The search ends when no more bytes are between a size that passes and one that is lost.
const NEAR: u32 = 8;
/// Packets of a size in the search: one that is lost by chance is no limit.
const AGAIN: u32 = 3;
/// How long a small packet's answer is waited for, and a large one's: meanwhile the peer may answer
/// again.
const PATIENCE: Duration = Duration::from_secs(1);
const LONG_PATIENCE: Duration = Duration::from_secs(2);
/// Peers that are asked, all at the same time.
const MOST_PEERS: usize = 256;

/// Which peer to ask, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerQuestion {
    /// The peer's pod CIDR.
    pub cidr: IpNet,
    /// Addresses that its node has in the tunnel, or may have: the overlay device's and the bridge's.
    pub addresses: [IpAddr; 2],
    /// The largest packet that the overlay device takes.
    pub full: u32,
    /// The largest that leaves in one piece, where full packets are sent in fragments.
    pub whole: Option<u32>,
}

/// The peers that can be asked, and how many are left out because they are too many.
#[must_use]
pub fn questions(topologies: &Topologies<'_>) -> (Vec<PeerQuestion>, u64) {
    let mut questions: Vec<PeerQuestion> =
        topologies.iter().flat_map(|topology| of_topology(topology)).collect();
    let left_out = questions.len().saturating_sub(MOST_PEERS);
    questions.truncate(MOST_PEERS);
    (questions, left_out as u64)
}

fn of_topology(topology: &Topology<'_>) -> Vec<PeerQuestion> {
    let serving = topology.overlay.filter(|it| topology.overlay_serves() && it.mtu > SMALL);
    let (Some(overlay), Some(tables)) = (serving, topology.tables) else { return Vec::new() };
    let of_peer = |peer: &Peer<'_>| PeerQuestion {
        cidr: peer.cidr,
        addresses: [peer.gateway, nth_address(peer.cidr, 1)],
        full: overlay.mtu,
        whole: peer.room(tables).filter(|room| (SMALL + 1..overlay.mtu).contains(room)),
    };
    let peers = topology.peers.iter();
    let peers = peers.filter(|peer| peer.overlay_route.is_some() && peer.direct.is_none());
    peers.filter(|peer| peer.lives()).map(of_peer).collect()
}

/// Asks all peers at the same time.
///
/// # Errors
/// When no socket can be had.
pub async fn ask(questions: Vec<PeerQuestion>) -> io::Result<Vec<PeerProbe>> {
    let mut asking = JoinSet::new();
    for question in questions {
        asking.spawn(async move { ask_peer(&question).await });
    }
    let answers: io::Result<Vec<PeerProbe>> = asking.join_all().await.into_iter().collect();
    answers.map(|mut answers| {
        answers.sort_by_key(|it| it.cidr);
        answers
    })
}

async fn ask_peer(question: &PeerQuestion) -> io::Result<PeerProbe> {
    let PeerQuestion { cidr, full, whole, .. } = *question;
    let Some(address) = who_answers(question).await? else {
        return Ok(PeerProbe { cidr, address: None, heeded: false, sizes: Vec::new() });
    };
    let mut sizes = Sizes::new(address);
    let mut heeded = false;
    // Most of the time that is all.
    if !sizes.passes(full, LONG_PATIENCE).await? {
        for _ in 1..TRIES {
            sizes.passes(SMALL, PATIENCE).await?;
            sizes.passes(full, LONG_PATIENCE).await?;
        }
        sizes.passes(SMALL, PATIENCE).await?;
        if sizes.answered(full) == 0 && sizes.answered(SMALL) == TRIES {
            heeded = is_heeded(address, full).await?;
            sizes.search(full, whole).await?;
        }
    }
    Ok(PeerProbe { cidr, address: Some(address), heeded, sizes: sizes.tried })
}

/// The address that answers a small packet.
async fn who_answers(question: &PeerQuestion) -> io::Result<Option<IpAddr>> {
    for address in question.addresses {
        for _ in 0..2 {
            if passes(address, SMALL, PATIENCE).await? == Some(true) {
                return Ok(Some(address));
            }
        }
    }
    Ok(None)
}

/// The sizes that were tried at an address, ascending.
struct Sizes {
    address: IpAddr,
    tried: Vec<ProbedSize>,
}

impl Sizes {
    const fn new(address: IpAddr) -> Self {
        Self { address, tried: Vec::new() }
    }

    fn answered(&self, bytes: u32) -> u32 {
        self.tried.iter().find(|it| it.bytes == bytes).map_or(0, |it| it.answered)
    }

    /// Tries one packet.
    async fn passes(&mut self, bytes: u32, patience: Duration) -> io::Result<bool> {
        let passes = passes(self.address, bytes, patience).await?;
        let at = match self.tried.binary_search_by_key(&bytes, |it| it.bytes) {
            Ok(at) => at,
            Err(at) => {
                self.tried.insert(at, ProbedSize { bytes, sent: 0, answered: 0 });
                at
            }
        };
        self.tried[at].sent += u32::from(passes.is_some());
        self.tried[at].answered += u32::from(passes == Some(true));
        Ok(passes == Some(true))
    }

    /// Narrows down where packets begin to be lost. Where packets above some size leave in fragments,
    /// that size is tried first.
    async fn search(&mut self, full: u32, whole: Option<u32>) -> io::Result<()> {
        let (mut passing, mut lost) = (SMALL, full);
        let mut next = whole;
        while lost - passing > NEAR || next.is_some() {
            let bytes = next.take().unwrap_or_else(|| passing.midpoint(lost));
            if self.passes_at_last(bytes).await? {
                passing = bytes;
                if whole == Some(bytes) && bytes + 1 < lost {
                    next = Some(bytes + 1);
                }
            } else {
                lost = bytes;
                if whole.is_some_and(|whole| whole + 1 == bytes) {
                    // What leaves in fragments is lost, what leaves in one piece is not.
                    break;
                }
            }
        }
        Ok(())
    }

    /// Whether one of a few packets passes.
    async fn passes_at_last(&mut self, bytes: u32) -> io::Result<bool> {
        for _ in 0..AGAIN {
            if self.passes(bytes, PATIENCE).await? {
                // The next answer has to be allowed again.
                tokio::time::sleep(PATIENCE).await;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether this node's kernel has learned, or was told, that packets of this size do not fit into the way:
/// then it refuses them to whoever forbids fragments, and tells pods. The packets of before have made it
/// look.
async fn is_heeded(address: IpAddr, bytes: u32) -> io::Result<bool> {
    let socket = socket(address, Discovery::Heed).await?;
    let sent = send(&socket, address, bytes).await;
    Ok(sent.is_err_and(|error| error.raw_os_error() == Some(libc::EMSGSIZE)))
}

/// Whether an address answers a packet of so many bytes, its IP header included; `None` when this node
/// does not send it.
async fn passes(address: IpAddr, bytes: u32, patience: Duration) -> io::Result<Option<bool>> {
    let socket = socket(address, Discovery::PassOver).await?;
    if let Err(error) = send(&socket, address, bytes).await {
        tracing::debug!("a probe of {bytes} bytes to {address}: {error}");
        return Ok(None);
    }
    let mut answer = [0; 64];
    Ok(Some(match timeout(patience, socket.recv(&mut answer)).await {
        Ok(Err(error)) => error.kind() == ErrorKind::ConnectionRefused,
        // Somebody listens there after all.
        Ok(Ok(_)) => true,
        Err(_) => false,
    }))
}

/// What becomes of what the kernel has learned of the path. No packet may be sent in fragments.
#[derive(Clone, Copy)]
enum Discovery {
    Heed,
    PassOver,
}

async fn socket(to: IpAddr, discovery: Discovery) -> io::Result<UdpSocket> {
    use {Ipv4PathMtuDiscovery as Four, Ipv6PathMtuDiscovery as Six};
    let any: IpAddr = match to {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    match (Family::of(to), discovery) {
        (Family::V4, Discovery::Heed) => set_ip_mtu_discover(&socket, Four::DO)?,
        (Family::V4, Discovery::PassOver) => set_ip_mtu_discover(&socket, Four::PROBE)?,
        (Family::V6, Discovery::Heed) => set_ipv6_mtu_discover(&socket, Six::DO)?,
        (Family::V6, Discovery::PassOver) => set_ipv6_mtu_discover(&socket, Six::PROBE)?,
    }
    Ok(socket)
}

async fn send(socket: &UdpSocket, to: IpAddr, bytes: u32) -> io::Result<usize> {
    let headers = if to.is_ipv4() { 20 + 8 } else { 40 + 8 };
    socket.connect(SocketAddr::new(to, PORT)).await?;
    socket.send(&vec![0; bytes.saturating_sub(headers) as usize]).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::testing::{OVERLAY, Pass, Plan, UPLINK, tables};

    #[test]
    fn every_peer_in_the_tunnel_is_asked_for_what_the_devices_take() {
        let plan = Plan::of(3, Pass::Tables);
        let mut evidence = plan.evidence();
        let (asked, left_out) = questions(&Topologies::of(&evidence));
        assert_eq!((asked.len(), left_out), (2, 0));
        assert!(asked.iter().all(|it| it.full == 1450 && it.whole.is_none()), "{asked:?}");
        for it in &asked {
            assert_eq!(it.addresses, [0, 1].map(|n| nth_address(it.cidr, n)));
        }
        let links = &mut tables(&mut evidence).links;
        links.iter_mut().find(|link| link.index == UPLINK).unwrap().mtu = 1400;
        let (asked, _) = questions(&Topologies::of(&evidence));
        assert!(asked.iter().all(|it| it.whole == Some(1350)), "{asked:?}");
        let links = &mut tables(&mut evidence).links;
        links.iter_mut().find(|link| link.index == OVERLAY).unwrap().up = false;
        assert_eq!(questions(&Topologies::of(&evidence)).0, []);
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_answers_and_one_that_keeps_silent_does_not() {
        let nobody = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(passes(nobody, SMALL, PATIENCE).await.unwrap(), Some(true));
        let silent = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 33));
        let _listener = UdpSocket::bind((silent, PORT)).await.unwrap();
        let patience = Duration::from_millis(50);
        assert_eq!(passes(silent, SMALL, patience).await.unwrap(), Some(false));
        // More than UDP takes.
        assert_eq!(passes(silent, 70_000, patience).await.unwrap(), None);
    }
}
