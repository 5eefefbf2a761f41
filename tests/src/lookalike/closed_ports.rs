//! Clients that call ports on which nobody listens: an ordinary fault of applications.

use super::{LookAlike, PLAIN, between_pods, steady};
use crate::{
    plan::{CLOSED_PORT, Family},
    traffic::Flow,
};

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "closed-ports",
    summary: "pods call closed TCP and UDP ports of peers",
    traffic: |plan| {
        between_pods(plan, |from, to| {
            let target = to.at(Family::V4, CLOSED_PORT);
            [Flow::TcpExchange { to: target }, Flow::UdpEcho { to: target }]
                .map(|flow| steady(&from.namespace, flow, 5.0))
                .into()
        })
    },
    infos: &["pod-port-closed"],
    ..PLAIN
}];
