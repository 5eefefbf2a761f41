//! `probes`: what peers answered to packets of several sizes.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::evidence::{Evidence, PeerProbe, ProbedSize};

#[derive(Debug, Serialize)]
pub(super) struct ProbeJson<'a> {
    peer: IpNet,
    address: Option<IpAddr>,
    heeded: bool,
    sizes: &'a [ProbedSize],
}

/// A row for each peer that was asked, those first that full packets do not reach; `None` where none was
/// to be asked.
pub(super) fn probes(evidence: &Evidence) -> Option<Vec<ProbeJson<'_>>> {
    let mut peers: Vec<&PeerProbe> = evidence.probes.as_ref()?.peers.iter().collect();
    peers.sort_by_key(|peer| peer.is_full());
    Some(peers.into_iter().map(row).collect())
}

fn row(probe: &PeerProbe) -> ProbeJson<'_> {
    let PeerProbe { cidr, address, heeded, sizes } = probe;
    ProbeJson { peer: *cidr, address: *address, heeded: *heeded, sizes }
}
