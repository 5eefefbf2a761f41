//! Whether the parts of the intent can all be true.

use ipnet::IpNet;

use crate::evidence::{Intent, PeerIntent};

/// Two parts of the intent that contradict each other.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Inconsistent {
    /// Two peers claim the same addresses.
    #[error("the pod CIDR {} ({}) overlaps with {} ({})", .0.pod_cidr, .0.source, .1.pod_cidr, .1.source)]
    Peers(Box<PeerIntent>, Box<PeerIntent>),
    /// A peer's CIDR is partly this node's; its own line in a peers file is equal to it.
    #[error(
        "the pod CIDR {} ({}) overlaps with this node's own {own} (subnet.env) and is not equal \
         to it", .peer.pod_cidr, .peer.source
    )]
    OwnSubnet {
        /// The peer.
        peer: Box<PeerIntent>,
        /// FLANNEL_SUBNET.
        own: IpNet,
    },
    /// Pods and services share addresses.
    #[error("the service network {service} (--service-cidr) overlaps with the pod network {pods}")]
    Services {
        /// By `--service-cidr`.
        service: IpNet,
        /// By `--cluster-cidr`, `subnet.env` or a peer.
        pods: IpNet,
    },
}

/// Looks for contradictions between sources; within a file its parser has found them.
///
/// # Errors
/// The first contradiction.
pub fn require_consistent(intent: &Intent) -> Result<(), Inconsistent> {
    for (index, peer) in intent.peers.iter().enumerate() {
        let others = &intent.peers[..index];
        if let Some(other) = others.iter().find(|other| overlap(&other.pod_cidr, &peer.pod_cidr)) {
            return Err(Inconsistent::Peers(Box::new(peer.clone()), Box::new(other.clone())));
        }
        let own = intent.subnet_env.iter().flat_map(|env| &env.subnets).map(IpNet::trunc);
        for own in own {
            if overlap(&own, &peer.pod_cidr) && own != peer.pod_cidr {
                return Err(Inconsistent::OwnSubnet { peer: Box::new(peer.clone()), own });
            }
        }
    }
    for service in &intent.service_cidrs {
        if let Some(pods) = pod_networks(intent).find(|pods| overlap(pods, service)) {
            return Err(Inconsistent::Services { service: *service, pods });
        }
    }
    Ok(())
}

fn pod_networks(intent: &Intent) -> impl Iterator<Item = IpNet> {
    let env = intent.subnet_env.iter().flat_map(|env| &env.networks);
    let peers = intent.peers.iter().map(|peer| &peer.pod_cidr);
    intent.cluster_cidrs.iter().chain(env).chain(peers).copied()
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::evidence::SubnetEnv;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn peer(cidr: &str, source: &str) -> PeerIntent {
        PeerIntent {
            pod_cidr: net(cidr),
            node_ip: "192.0.2.2".parse().unwrap(),
            vtep_mac: None,
            name: None,
            source: source.to_owned(),
        }
    }

    /// Node 1 of 10.244.0.0/16 with its own and one other line in the peers file.
    fn intent() -> Intent {
        Intent {
            subnet_env: Some(SubnetEnv {
                path: PathBuf::from("subnet.env"),
                networks: vec![net("10.244.0.0/16")],
                subnets: vec![net("10.244.1.1/24")],
                mtu: None,
                ip_masq: None,
            }),
            peers: vec![peer("10.244.1.0/24", "line 1"), peer("10.244.2.0/24", "line 2")],
            cluster_cidrs: vec![net("10.244.0.0/16")],
            service_cidrs: vec![net("10.96.0.0/12"), net("fd00::/108")],
            ..Intent::default()
        }
    }

    fn complaint(intent: &Intent) -> String {
        require_consistent(intent).unwrap_err().to_string()
    }

    #[test]
    fn the_own_nodes_line_and_networks_side_by_side_are_consistent() {
        assert_eq!(require_consistent(&intent()), Ok(()));
        assert_eq!(require_consistent(&Intent::default()), Ok(()));
    }

    #[test]
    fn peers_that_overlap_are_both_named() {
        let mut intent = intent();
        intent.peers.push(peer("10.244.2.128/25", "line 3"));
        let expected = "the pod CIDR 10.244.2.128/25 (line 3) overlaps with 10.244.2.0/24 (line 2)";
        assert_eq!(complaint(&intent), expected);
    }

    #[test]
    fn a_peer_within_the_own_subnet_is_named() {
        let mut intent = intent();
        intent.peers[0] = peer("10.244.1.128/25", "line 1");
        assert!(complaint(&intent).contains("this node's own 10.244.1.0/24"));
    }

    #[test]
    fn services_among_pods_are_named() {
        let mut intent = intent();
        intent.service_cidrs.push(net("10.244.128.0/20"));
        let expected = "the service network 10.244.128.0/20 (--service-cidr) overlaps with the \
                        pod network 10.244.0.0/16";
        assert_eq!(complaint(&intent), expected);
    }
}
