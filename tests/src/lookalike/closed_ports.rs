//! Clients that call ports on which nobody listens: an ordinary fault of applications.

use std::net::SocketAddrV4;

use super::{LookAlike, PLAIN, between_pods, steady};
use crate::{plan::CLOSED_PORT, traffic::Flow};

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "closed-ports",
    summary: "pods call closed TCP and UDP ports of peers",
    traffic: |plan| {
        between_pods(plan, |from, to| {
            let target = SocketAddrV4::new(to.ip, CLOSED_PORT);
            [Flow::TcpExchange { to: target }, Flow::UdpEcho { to: target }]
                .map(|flow| steady(&from.namespace, flow, 5.0))
                .into()
        })
    },
    ..PLAIN
}];
