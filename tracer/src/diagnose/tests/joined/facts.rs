//! What nodes are told of each other, and who is who.

use super::{healthy, judge, node, pair, plan, told};
use crate::{
    diagnose::{
        Severity, diagnose_joined, exit_status_joined,
        testing::{Pass, Plan, fdb, mac, observe, tables},
    },
    evidence::{Evidence, Tables},
};

#[test]
fn the_same_node_twice_is_refused_whatever_it_is_called() {
    let one = node(&plan(0, 2, Pass::Tables));
    let mut again = one.clone();
    again.node.name = "other".to_owned();
    let error = diagnose_joined(&[one, again], &[]).unwrap_err().to_string();
    assert!(error.starts_with("the evidence of other (192.168.77.10) was given twice"), "{error}");
    assert_eq!(error.lines().count(), 1);
}

#[test]
fn a_node_before_and_after_its_device_vanished_is_the_same_node() {
    let one = node(&plan(0, 2, Pass::SubnetEnv));
    let mut later = one.clone();
    super::delete_overlay(&mut later, &plan(0, 2, Pass::SubnetEnv));
    observe(&mut later);
    assert!(diagnose_joined(&[one, later], &[]).is_err());
}

#[test]
fn nodes_of_one_name_are_told_apart() {
    let mut nodes = pair(Pass::Tables, healthy, super::lose_fdb);
    nodes.iter_mut().for_each(|it| it.node.name = "node".to_owned());
    let joined = judge(&nodes);
    let labels: Vec<&str> = joined.nodes.iter().map(|it| it.label.as_str()).collect();
    assert_eq!(labels, ["node (192.168.77.10)", "node (192.168.77.11)"]);
    let keys: Vec<&str> = joined.nodes.iter().map(|it| it.key.as_str()).collect();
    assert_eq!(keys, ["10.244.0.0/24", "10.244.1.0/24"]);
    assert_eq!(joined.findings[0].node, 1);
}

/// Two clusters on one pod network, each with a node that the other could take for its own.
#[test]
fn nodes_of_two_clusters_are_judged_apart_though_their_pod_networks_are_the_same() {
    let other = Plan { lan: 99, ..plan(1, 2, Pass::Tables) };
    let mut nodes = [node(&plan(0, 2, Pass::Tables)), node(&other)];
    // The VTEP MACs of the other cluster are its own.
    for evidence in &mut nodes[1..] {
        let tables = tables(evidence);
        tables.fdb.iter_mut().for_each(|it| it.mac.0[1] = 9);
        tables.neighbours.iter_mut().filter_map(|it| it.mac.as_mut()).for_each(|it| it.0[1] = 9);
        tables.links.iter_mut().filter_map(|it| it.mac.as_mut()).for_each(|it| it.0[1] = 9);
    }
    let joined = judge(&nodes);
    let apart = "whether n0 (192.168.77.10) and n1 (192.168.99.11) are of one cluster";
    assert!(joined.unseen.iter().any(|it| it.starts_with(apart)), "{:?}", joined.unseen);
    assert!(joined.nodes.iter().all(|it| it.diagnosis.peers[0].name.is_none()));
    super::make_one_way(&mut nodes[0], &plan(0, 2, Pass::Tables));
    super::lose_route(&mut nodes[1], &other);
    nodes.iter_mut().for_each(observe);
    let expected = ["1: pod-route-missing 10.244.0.0/24", "0: tunnel-one-way 10.244.1.0/24"];
    assert_eq!(told(&judge(&nodes)), expected);
}

#[test]
fn two_nodes_with_one_pod_network_are_told_and_not_mixed_up() {
    let nodes = [0, 1, 2].map(|own| node(&plan(own, 3, Pass::Tables)));
    let mut rival = node(&Plan { lan: 78, ..plan(1, 3, Pass::Tables) });
    tables(&mut rival).fdb.push(fdb(mac(77), plan(0, 3, Pass::Tables).node_ip(0)));
    let mut all = Vec::from(nodes);
    all.push(rival);
    let joined = judge(&all);
    let line = "whose 10.244.1.0/24 is: n1 (192.168.77.11) and n1 (192.168.78.11) have it";
    assert!(joined.unseen.iter().any(|it| it.starts_with(line)), "{:?}", joined.unseen);
    let row = &joined.nodes[0].diagnosis.peers[0];
    assert_eq!((row.cidr.to_string().as_str(), row.name.as_deref()), ("10.244.1.0/24", None));
}

#[test]
fn evidence_of_other_times_is_judged_apart() {
    let mut nodes = pair(Pass::Tables, super::make_one_way, super::lose_route);
    super::later(&mut nodes[1], 3600);
    let joined = judge(&nodes);
    let expected = ["1: pod-route-missing 10.244.0.0/24", "0: tunnel-one-way 10.244.1.0/24"];
    assert_eq!(told(&joined), expected);
    assert!(joined.unseen.iter().any(|it| it.ends_with("too far apart")), "{:?}", joined.unseen);
    super::later(&mut nodes[0], 3400);
    assert!(told(&judge(&nodes))[1].contains("return-route-missing-on-peer"));
}

/// flannel announces an address that a router translates: the node has another.
#[test]
fn an_address_that_may_be_translated_is_no_fact() {
    let mut nodes = pair(Pass::Tables, healthy, healthy);
    let public = "203.0.113.7".parse().unwrap();
    tables(&mut nodes[0]).fdb.iter_mut().for_each(|it| it.destination = Some(public));
    let joined = judge(&nodes);
    assert_eq!(told(&joined), [""; 0]);
    let line = "whether 203.0.113.7, by which n0 (192.168.77.10) reaches n1 (192.168.77.11)";
    assert!(joined.unseen.iter().any(|it| it.starts_with(line)), "{:?}", joined.unseen);
    assert_eq!(joined.nodes[0].diagnosis.peers[0].node_ip, Some(public));
}

/// A machine that was a node once: an old FDB entry of a node still names it.
#[test]
fn a_machine_without_flannel_is_not_told_to_have_lost_it() {
    let evidence = node(&plan(0, 3, Pass::Tables));
    let mut former = node(&plan(2, 3, Pass::Tables));
    super::delete_overlay(&mut former, &plan(2, 3, Pass::Tables));
    super::delete_bridge(&mut former, &plan(2, 3, Pass::Tables));
    former.intent.flannel_netfilter.clear();
    former.roles = Default::default();
    let kept = former.tables.take().unwrap();
    former.tables = Some(Tables { routes: Vec::new(), ..kept });
    former.hooks.clear();
    former.traffic = None;
    let joined = judge(&[evidence.clone(), former.clone()]);
    assert_eq!(told(&joined), [""; 0]);
    assert_eq!(exit_status_joined(&joined, &[evidence, former], Severity::Warning), 2);
}

/// A node that lost all of its tables knows its peers by the others' evidence.
#[test]
fn a_node_hears_of_its_peers_from_their_evidence() {
    let plans = [plan(0, 2, Pass::SubnetEnv), plan(1, 2, Pass::SubnetEnv)];
    let mut nodes = plans.each_ref().map(node);
    let emptied = |evidence: &mut Evidence| {
        let tables = tables(evidence);
        tables.fdb.clear();
        tables.neighbours.clear();
        let is_own = |it: &crate::evidence::Route| {
            it.destination.addr().is_ipv6() || it.destination != plans[1].cidr(0)
        };
        tables.routes.retain(is_own);
        evidence.traffic = None;
    };
    emptied(&mut nodes[1]);
    nodes.iter_mut().for_each(observe);
    let joined = judge(&nodes);
    assert_eq!(told(&joined), ["1: flannel-link-recreated-empty flannel.1"]);
}
