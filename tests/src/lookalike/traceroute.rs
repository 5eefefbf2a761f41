//! Traceroute from a pod: its packets die on the way on purpose.

use super::{LookAlike, PLAIN, between_pods, steady};
use crate::{plan::Family, traffic::Flow};

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "traceroute",
    summary: "pods ping peers with a TTL of 1, 2 and 3",
    traffic: |plan| {
        between_pods(plan, |from, to| {
            [1, 2, 3]
                .map(|ttl| {
                    steady(&from.namespace, Flow::Ping { to: to.ip.of(Family::V4), ttl }, 3.0)
                })
                .into()
        })
    },
    ..PLAIN
}];
