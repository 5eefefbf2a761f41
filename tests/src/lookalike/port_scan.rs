//! A pod that looks for open ports, and one that opens a new flow with every packet.

use super::{LookAlike, PLAIN, between_pods, steady};
use crate::{
    plan::{CLOSED_PORT, Family, Node, SYSLOG_PORT},
    traffic::Flow,
};

/// How many ports are tried.
const PORTS: u16 = 8;
/// From where on new flows take their ports: above what pods listen on.
const FIRST_PORT: u16 = 10_000;
/// As many as a sender takes while it lives; those of five peers end below the kernel's own choice.
const PORTS_OF_PEER: u16 = 4_500;

pub(super) const LOOK_ALIKES: [LookAlike; 2] = [
    LookAlike {
        name: "port-scan",
        summary: "pods try one closed port after the other of their peers",
        traffic: |plan| {
            between_pods(plan, |from, to| {
                let tried = (0..PORTS).map(|nth| to.at(Family::V4, CLOSED_PORT - nth));
                tried.map(|to| steady(&from.namespace, Flow::TcpExchange { to }, 2.0)).collect()
            })
        },
        infos: &["pod-port-closed"],
        ..PLAIN
    },
    LookAlike {
        name: "conntrack-churn",
        summary: "pods send every datagram from a new port: each is a connection for conntrack",
        traffic: |plan| {
            between_pods(plan, |from, to| {
                let to = to.at(Family::V4, SYSLOG_PORT);
                // Ports of its own for each peer: two senders cannot have the same one.
                let is_there =
                    |node: &Node| node.pods.iter().any(|pod| pod.ip.of(Family::V4) == to.ip());
                let nth = plan.nodes.iter().position(is_there).unwrap_or_default() as u16;
                let flow = Flow::UdpManyFlows { to, first_port: FIRST_PORT + nth * PORTS_OF_PEER };
                vec![steady(&from.namespace, flow, 15.0)]
            })
        },
        ..PLAIN
    },
];
