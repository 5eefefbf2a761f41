//! DNS servers to which queries are dropped on this node.

use std::{collections::BTreeSet, net::IpAddr};

use crate::evidence::{DnsServer, DropPlace, Evidence, Family, next_to_none};

/// IANA's number of UDP, and its port of DNS.
const UDP: u8 = 17;
const PORT: u16 = 53;

/// The servers that may be services and do not answer, and to whose own addresses queries are dropped
/// here: what kube-proxy has for these is worth asking. None where there is no kube-proxy.
#[must_use]
pub fn dropped_servers(evidence: &Evidence) -> Vec<IpAddr> {
    if evidence.intent.service_netfilter.is_empty() {
        return Vec::new();
    }
    let drops = evidence.drops.iter().flat_map(|drops| &drops.entries);
    let here = drops.filter(|drop| drop.place == DropPlace::Node).filter_map(|drop| drop.flow);
    let queries = here.filter(|flow| (flow.protocol, flow.destination_port) == (UDP, PORT));
    let dropped: BTreeSet<IpAddr> = queries.map(|flow| flow.destination).collect();
    let servers = evidence.dns.iter().flat_map(|dns| &dns.servers);
    let silent = servers.filter(|server| next_to_none(server.answered(), server.queries));
    let silent = silent.filter_map(|server: &DnsServer| server.server);
    silent.filter(|it| dropped.contains(it) && may_be_service(evidence, *it)).collect()
}

fn may_be_service(evidence: &Evidence, address: IpAddr) -> bool {
    let networks = evidence.intent.service_cidrs.iter();
    let mut of_family =
        networks.filter(|it| Family::of_net(**it) == Family::of(address)).peekable();
    of_family.peek().is_none() || of_family.any(|it| it.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnose::testing::{Pass, Plan, dropped},
        evidence::{Dns, DnsAnswers, DropFlow, Drops},
    };

    /// A node on which queries to a server are dropped.
    fn evidence(server: &str) -> Evidence {
        let mut evidence = Plan::of(2, Pass::SubnetEnv).evidence();
        let server: IpAddr = server.parse().unwrap();
        let drop = dropped();
        let to = |flow: DropFlow| DropFlow {
            destination: server,
            protocol: UDP,
            destination_port: PORT,
            ..flow
        };
        let entries = vec![crate::evidence::Drop { flow: drop.flow.map(to), ..drop }];
        evidence.drops = Some(Drops { entries, ..Drops::default() });
        let server = DnsServer { server: Some(server), queries: 10, ..DnsServer::default() };
        evidence.dns = Some(Dns { timeout_seconds: 2.0, servers: vec![server] });
        evidence.intent.service_netfilter = vec!["nft table ip kube-proxy".to_owned()];
        evidence
    }

    #[test]
    fn what_is_dropped_and_may_be_a_service_that_does_not_answer_is_asked_for() {
        let service: IpAddr = "10.96.0.10".parse().unwrap();
        let asked = |change: &dyn Fn(&mut Evidence)| {
            let mut evidence = evidence("10.96.0.10");
            change(&mut evidence);
            dropped_servers(&evidence)
        };
        let knows = |network: &str| {
            let network = network.parse().unwrap();
            move |it: &mut Evidence| it.intent.service_cidrs = vec![network]
        };
        assert_eq!(asked(&|_| {}), [service]);
        assert_eq!(asked(&knows("10.96.0.0/12")), [service]);
        assert_eq!(asked(&knows("fd00::/112")), [service], "of the other IP version");
        assert_eq!(asked(&knows("10.43.0.0/16")), [service; 0]);
        assert_eq!(asked(&|it| it.intent.service_netfilter.clear()), [service; 0]);
        assert_eq!(asked(&|it| it.drops = None), [service; 0]);
        let answers = DnsAnswers {
            endpoint: None,
            rcode: 0,
            truncated: false,
            bucket: 3,
            answers: 3,
            seconds: 0.001,
        };
        let answering =
            |it: &mut Evidence| it.dns.as_mut().unwrap().servers[0].answers = vec![answers.clone()];
        assert_eq!(asked(&answering), [service; 0]);
    }
}
