//! Steady traffic between all nodes, slow enough for a small machine and quick enough for a check
//! of a few seconds.

use super::{Flow, Limits, Sender};
use crate::{
    plan::{BridgeState, DNS_NAME, ECHO_PORT, Family, Node, Plan, SINK_PORT},
    size,
};

const TTL: u8 = 64;
/// What is left of the rates where programs are interpreted: a packet costs a millisecond there.
const SMALL: f64 = 0.4;
/// How many times the packets for one other node a node sends to all others there.
const MANY: f64 = 1.5;

/// Everything below, between the nodes `among`, in every family, slower where programs are
/// interpreted.
#[must_use]
pub fn all_pairs(plan: &Plan, among: &[usize]) -> Vec<Sender> {
    let mut senders = Vec::new();
    for family in plan.families() {
        senders.extend(pods_to_pods(plan, among, *family));
        senders.extend(pods_to_second_pods(plan, among, *family));
        senders.extend(hosts_to_pods(plan, among, *family));
        senders.extend(pods_to_hosts(plan, among, *family));
        senders.extend(pods_to_dns(plan, among, *family));
    }
    bearable(plan, among, senders)
}

/// From the nodes `among` themselves to pods of the others, and from pods to the other nodes: nothing
/// that pods say to each other.
#[must_use]
pub fn with_hosts(plan: &Plan, among: &[usize]) -> Vec<Sender> {
    let of_family = |family: &Family| {
        [hosts_to_pods(plan, among, *family), pods_to_hosts(plan, among, *family)].concat()
    };
    bearable(plan, among, plan.families().iter().flat_map(of_family).collect())
}

/// Slower where programs are interpreted: as many packets in two families together as in one, and from
/// a node to many others together not more than [`MANY`] times as many as to one.
fn bearable(plan: &Plan, among: &[usize], mut senders: Vec<Sender>) -> Vec<Sender> {
    let others = among.len().saturating_sub(1).max(1) as f64;
    let small = SMALL * (MANY / others).min(1.0) / plan.families().len() as f64;
    for sender in &mut senders {
        sender.limits.rate *= size::of(1.0, small);
    }
    senders
}

/// A busy pair of nodes, the victim and the peer of the plan's site, in the family of that: 5,000 UDP packets a second with
/// their answers, 200 DNS queries, 10 connections, and TCP in bulk both ways.
#[must_use]
pub fn load(plan: &Plan) -> Vec<Sender> {
    let Some((one, other)) = plan.victim().first_pod().zip(plan.peer().first_pod()) else {
        return Vec::new();
    };
    let family = plan.site.family;
    let dns = Flow::Dns { server: plan.dns_server(family), name: DNS_NAME.to_owned() };
    [(one, other), (other, one)]
        .into_iter()
        .flat_map(|(from, to)| {
            let echo = to.at(family, ECHO_PORT);
            let sink = to.at(family, SINK_PORT);
            [
                (Flow::UdpEcho { to: echo }, 1250.0),
                (Flow::TcpExchange { to: echo }, 5.0),
                (Flow::TcpBulk { to: sink, bytes: 32 << 20 }, 1.0),
                (dns.clone(), 100.0),
            ]
            .map(|(flow, rate)| sender(&from.namespace, flow, rate))
        })
        .collect()
}

/// From the first pod of each node to the first pod of each other node: ping, UDP and TCP.
#[must_use]
pub fn pods_to_pods(plan: &Plan, among: &[usize], family: Family) -> Vec<Sender> {
    pairs(plan, among)
        .filter_map(|(from, to)| Some((from.first_pod()?, to.first_pod()?)))
        .flat_map(|(from, to)| {
            let echo = to.at(family, ECHO_PORT);
            [
                (Flow::Ping { to: to.ip.of(family), ttl: TTL }, 5.0),
                (Flow::UdpEcho { to: echo }, 10.0),
                (Flow::TcpExchange { to: echo }, 5.0),
            ]
            .map(|(flow, rate)| sender(&from.namespace, flow, rate))
        })
        .collect()
}

/// From the first pod of each node to the second of each other node: ping. A peer of which one
/// address alone keeps silent may have reasons that are no fault of the tunnel.
fn pods_to_second_pods(plan: &Plan, among: &[usize], family: Family) -> Vec<Sender> {
    pairs(plan, among)
        .filter_map(|(from, to)| Some((from.first_pod()?, to.pods.get(1)?)))
        .map(|(from, to)| {
            sender(&from.namespace, Flow::Ping { to: to.ip.of(family), ttl: TTL }, 5.0)
        })
        .collect()
}

/// From each node itself to the first pod of each other node: ping.
#[must_use]
pub fn hosts_to_pods(plan: &Plan, among: &[usize], family: Family) -> Vec<Sender> {
    pairs(plan, among)
        .filter_map(|(from, to)| Some((from, to.first_pod()?)))
        .map(|(from, to)| {
            sender(&from.namespace, Flow::Ping { to: to.ip.of(family), ttl: TTL }, 5.0)
        })
        .collect()
}

/// From the first pod of each node to each other node itself, through the tunnel: ping. Before
/// Linux 5.14 the first address of the bridge's network is one for all hosts too, and answers nobody
/// once the overlay device that has it is younger than the bridge; the bridge's own is always one.
fn pods_to_hosts(plan: &Plan, among: &[usize], family: Family) -> Vec<Sender> {
    let own = |node: &Node| match node.bridge_state {
        BridgeState::Absent => node.end(family).flannel_ip(),
        BridgeState::WithPods | BridgeState::Empty => node.end(family).bridge_ip(),
    };
    pairs(plan, among)
        .filter_map(|(from, to)| Some((from.first_pod()?, own(to))))
        .map(|(from, to)| sender(&from.namespace, Flow::Ping { to, ttl: TTL }, 5.0))
        .collect()
}

/// From the first pod of each node to the DNS service.
fn pods_to_dns(plan: &Plan, among: &[usize], family: Family) -> Vec<Sender> {
    // A lab whose DNS node is left out of the traffic has a service without a server.
    if !among.contains(&plan.dns.node) {
        return Vec::new();
    }
    let flow = Flow::Dns { server: plan.dns_server(family), name: DNS_NAME.to_owned() };
    among
        .iter()
        .filter_map(|node| plan.nodes[*node].first_pod())
        .map(|pod| sender(&pod.namespace, flow.clone(), 5.0))
        .collect()
}

fn pairs<'p>(plan: &'p Plan, among: &[usize]) -> impl Iterator<Item = (&'p Node, &'p Node)> {
    among.iter().flat_map(move |from| {
        let others = among.iter().filter(move |to| *to != from);
        others.map(move |to| (&plan.nodes[*from], &plan.nodes[*to]))
    })
}

fn sender(namespace: &str, flow: Flow, rate: f64) -> Sender {
    Sender { namespace: namespace.to_owned(), flow, limits: Limits::steady(rate) }
}
