//! A pod that looks for open ports, and one that opens a new flow with every packet.

use std::net::SocketAddrV4;

use super::{LookAlike, PLAIN, between_pods, steady};
use crate::{
    plan::{CLOSED_PORT, SYSLOG_PORT},
    traffic::Flow,
};

/// How many ports are tried.
const PORTS: u16 = 8;

pub(super) const LOOK_ALIKES: [LookAlike; 2] = [
    LookAlike {
        name: "port-scan",
        summary: "pods try one closed port after the other of their peers",
        traffic: |plan| {
            between_pods(plan, |from, to| {
                let tried = (0..PORTS).map(|nth| SocketAddrV4::new(to.ip, CLOSED_PORT - nth));
                tried.map(|to| steady(&from.namespace, Flow::TcpExchange { to }, 2.0)).collect()
            })
        },
        ..PLAIN
    },
    LookAlike {
        name: "conntrack-churn",
        summary: "pods send every datagram from a new port: each is a connection for conntrack",
        traffic: |plan| {
            between_pods(plan, |from, to| {
                let to = SocketAddrV4::new(to.ip, SYSLOG_PORT);
                let flow = Flow::UdpManyFlows { to, first_port: 20_000 };
                vec![steady(&from.namespace, flow, 100.0)]
            })
        },
        ..PLAIN
    },
];
