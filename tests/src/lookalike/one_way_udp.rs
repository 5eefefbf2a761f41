//! Pods that only send to a peer and expect no answer.

use super::{LookAlike, PLAIN, between_pods, steady};
use crate::{
    plan::{Family, Plan, SYSLOG_PORT},
    traffic::{Flow, Sender},
};

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "one-way-udp",
    summary: "pods send syslog datagrams to peers, which nobody answers",
    traffic: logs,
    ..PLAIN
}];

/// Every pod logs to those of peers.
pub(super) fn logs(plan: &Plan) -> Vec<Sender> {
    between_pods(plan, |from, to| {
        let target = to.at(Family::V4, SYSLOG_PORT);
        vec![steady(&from.namespace, Flow::UdpOneWay { to: target, size: 120 }, 20.0)]
    })
}
