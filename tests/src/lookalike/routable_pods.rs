//! Pods whose addresses the LAN knows: flannel masquerades nothing (`FLANNEL_IPMASQ=false`), clients
//! reach pods directly, and the answers leave the uplink as they are.

use super::{LookAlike, PLAIN, steady};
use crate::{
    netns,
    plan::{ECHO_PORT, Family, Plan},
    script::{Script, Tool},
    traffic::{Flow, Sender},
};

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "routable-pods",
    summary: "no masquerading: clients of the LAN and pods reach each other by their own addresses",
    changes: route,
    traffic: |plan| [from_client(plan), to_client(plan)].concat(),
    ..PLAIN
}];

fn route(plan: &Plan) -> Vec<Script> {
    let routes = plan.nodes.iter().map(|node| {
        let (subnet, ip) = (node.subnet.v4, node.ip.v4);
        format!("route add {subnet} via {ip}")
    });
    let unmasked = |namespace: &str| {
        let lines = ["*nat", "-F FLANNEL-POSTRTG", "COMMIT"].map(str::to_owned);
        Script::new(Tool::Iptables, Some(namespace), lines)
    };
    let mut scripts = vec![Script::ip(netns::CLIENT, routes)];
    scripts.extend(plan.nodes.iter().map(|node| unmasked(&node.namespace)));
    scripts
}

fn from_client(plan: &Plan) -> Vec<Sender> {
    let pods = plan.nodes.iter().filter_map(|node| node.first_pod());
    pods.flat_map(|pod| {
        let echo = pod.at(Family::V4, ECHO_PORT);
        [Flow::Ping { to: pod.ip.of(Family::V4), ttl: 64 }, Flow::TcpExchange { to: echo }]
            .map(|flow| steady(netns::CLIENT, flow, 5.0))
    })
    .collect()
}

fn to_client(plan: &Plan) -> Vec<Sender> {
    let pods = plan.nodes.iter().filter_map(|node| node.first_pod());
    let ping = Flow::Ping { to: plan.lan.client.of(Family::V4), ttl: 64 };
    pods.map(|pod| steady(&pod.namespace, ping.clone(), 5.0)).collect()
}
