//! What single rules know beyond their proof: dates, subjects, what they leave unsaid.

use std::collections::BTreeSet;

use super::{
    super::{
        Confidence, Precision, Severity, diagnose,
        testing::{
            Pass, Plan, UPLINK, fdb, judge, link, mac, peer_traffic, refusing, tables, told, via,
        },
    },
    injections::{blackhole, flap_overlay, lose_fdb, lose_route, make_one_way},
};
use crate::evidence::{Platform, RouteKind, Stranger};

#[test]
fn a_missing_route_is_bounded_by_the_age_of_the_neighbour() {
    let plan = Plan::of(2, Pass::Tables);
    let mut evidence = plan.evidence();
    lose_route(&mut evidence, &plan);
    let since = judge(&mut evidence).findings.remove(0).since;
    assert_eq!(since.precision, Precision::Bounded);
    assert_eq!(since.not_before, "2026-01-01T11:43:20Z".parse().ok());
    assert_eq!(since.not_after, "2026-01-01T12:00:00Z".parse().ok());
    assert_eq!(since.time, None);
}

#[test]
fn a_flap_is_dated_by_the_link_local_address() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    flap_overlay(&mut evidence, &plan);
    let since = judge(&mut evidence).findings.remove(0).since;
    assert_eq!(since.time, "2026-01-01T11:59:00Z".parse().ok());
    assert_eq!(since.precision, Precision::Bounded);
}

#[test]
fn a_flap_swallows_the_routes_it_took() {
    let plan = Plan::of(3, Pass::PeersFile);
    let mut evidence = plan.evidence();
    flap_overlay(&mut evidence, &plan);
    let diagnosis = judge(&mut evidence);
    let breaks: BTreeSet<String> = diagnosis.findings[0].breaks.iter().cloned().collect();
    for node in plan.peers() {
        assert!(breaks.contains(&format!("route to {}", plan.cidr(node))), "{breaks:?}");
    }
}

#[test]
fn without_a_link_local_address_a_flap_needs_a_living_peer() {
    for (pass, expected) in [(Pass::Tables, 0), (Pass::SubnetEnv, 0), (Pass::PeersFile, 1)] {
        let plan = Plan { seconds: 0.0, ..Plan::of(3, pass) };
        let mut evidence = plan.evidence();
        flap_overlay(&mut evidence, &plan);
        tables(&mut evidence).addresses.retain(|address| address.address.is_ipv4());
        let diagnosis = judge(&mut evidence);
        assert_eq!(diagnosis.findings.len(), expected, "{diagnosis:?}");
        let unsure =
            diagnosis.unseen.iter().any(|line| line.contains("no link-local address dates it"));
        assert_eq!(unsure, expected == 0, "{:?}", diagnosis.unseen);
    }
}

#[test]
fn packets_of_a_stranger_show_that_a_flapped_device_lost_a_peer() {
    let plan = Plan::of(2, Pass::Tables);
    let mut evidence = plan.evidence();
    flap_overlay(&mut evidence, &plan);
    tables(&mut evidence).addresses.retain(|address| address.address.is_ipv4());
    let traffic = evidence.traffic.as_mut().unwrap();
    traffic.peers.clear();
    traffic.strangers.push(Stranger {
        inner_source: crate::topology::nth_address(plan.hit_cidr(), 5),
        outer_source: plan.node_ip(plan.hit()),
        packets: 9,
    });
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), ["flannel-link-flapped-state-lost flannel.1"]);
    assert_eq!(diagnosis.peers[0].node_ip, Some(plan.node_ip(plan.hit())));
}

#[test]
fn ages_too_near_to_one_another_leave_the_proof_to_a_living_peer() {
    for (pass, expected) in [(Pass::Tables, 0), (Pass::PeersFile, 1)] {
        let plan = Plan { seconds: 0.0, ..Plan::of(3, pass) };
        let mut evidence = plan.evidence();
        flap_overlay(&mut evidence, &plan);
        for address in &mut tables(&mut evidence).addresses {
            address.created_age = Some(1000.2);
        }
        let found = told(&judge(&mut evidence));
        assert_eq!(found, ["flannel-link-flapped-state-lost flannel.1"; 1][..expected]);
    }
}

#[test]
fn leaks_to_a_stranger_are_the_impact_of_its_missing_route() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    lose_route(&mut evidence, &plan);
    tables(&mut evidence).neighbours.retain(|it| it.address != plan.hit_cidr().network());
    tables(&mut evidence).fdb.retain(|it| it.mac != mac(plan.hit()));
    let traffic = evidence.traffic.as_mut().unwrap();
    traffic.peers.retain(|peer| peer.cidr != plan.hit_cidr());
    for flow in traffic.flows.iter_mut().filter(|it| plan.hit_cidr().contains(&it.destination)) {
        flow.leaked = 12;
    }
    traffic.strangers.push(Stranger {
        inner_source: crate::topology::nth_address(plan.hit_cidr(), 5),
        outer_source: plan.node_ip(plan.hit()),
        packets: 9,
    });
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), [format!("pod-route-missing {}", plan.hit_cidr())]);
    let impact = diagnosis.findings[0].impact;
    assert_eq!((impact.packets, impact.flows), (12, 1));
    assert!(diagnosis.unseen.iter().all(|line| !line.contains("un-encapsulated")));
}

#[test]
fn a_peer_without_fdb_entry_has_a_node_address_only_where_something_tells_it() {
    for (pass, seconds, known) in [
        (Pass::Tables, 0.0, false),
        (Pass::SubnetEnv, 0.0, false),
        (Pass::PeersFile, 0.0, true),
        (Pass::Tables, 5.0, true),
    ] {
        let plan = Plan { seconds, ..Plan::of(3, pass) };
        let mut evidence = plan.evidence();
        lose_fdb(&mut evidence, &plan);
        let subject = judge(&mut evidence).findings.remove(0).subject;
        assert_eq!(subject.peer, known.then(|| plan.node_ip(plan.hit())), "{plan:?}");
        assert_eq!(subject.vtep_mac, Some(mac(plan.hit())));
        assert_eq!(subject.cidr, Some(plan.hit_cidr()));
    }
}

#[test]
fn a_left_over_entry_of_another_peer_does_not_hide_a_missing_one() {
    let plan = Plan { seconds: 0.0, ..Plan::of(3, Pass::Tables) };
    let mut evidence = plan.evidence();
    lose_fdb(&mut evidence, &plan);
    let other = plan.peers().next().unwrap();
    tables(&mut evidence).fdb.push(fdb(mac(99), plan.node_ip(other)));
    assert_eq!(told(&judge(&mut evidence)), [format!("fdb-entry-missing {}", plan.hit_cidr())]);
}

#[test]
fn silence_of_a_peer_is_told_as_likely() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    make_one_way(&mut evidence, &plan);
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), [format!("tunnel-one-way {}", plan.hit_cidr())]);
    assert_eq!(diagnosis.findings[0].confidence, Confidence::Likely);
    assert_eq!(diagnosis.findings[0].impact.packets, 30);
    assert!(diagnosis.findings[0].evidence[1].starts_with("the tables of this node are right"));
}

#[test]
fn silence_is_not_told_where_nobody_listened() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    make_one_way(&mut evidence, &plan);
    evidence.hooks.retain(|hook| hook.ifindex != UPLINK);
    assert_eq!(told(&diagnose(&evidence)), [""; 0]);
}

#[test]
fn silence_is_not_told_where_answers_may_come_by_another_uplink() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    make_one_way(&mut evidence, &plan);
    tables(&mut evidence).links.push(link(30, "tailscale0", Some("tun")));
    let other = plan.node_ip(plan.peers().next().unwrap());
    tables(&mut evidence).routes.push(via(other.into(), None, 30));
    assert_eq!(judge(&mut evidence).findings.len(), 1);
    evidence.hooks.retain(|hook| hook.ifindex != 30);
    assert_eq!(told(&diagnose(&evidence)), [""; 0]);
}

#[test]
fn a_loss_without_a_cause_names_its_stage() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
    traffic.lost.wire_to_overlay = 9;
    traffic.lost_early.wire_to_overlay = 4;
    traffic.lost.overlay_to_pod = 7;
    traffic.lost_early.overlay_to_pod = 3;
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), [format!("unexplained-loss {}", plan.hit_cidr())]);
    let finding = &diagnosis.findings[0];
    assert_eq!((finding.severity, finding.impact.packets), (Severity::Warning, 16));
    assert_eq!(finding.evidence.len(), 2);
}

/// Flows of a peer that is heard have no answer; `wire_in` packets of others came from it.
fn unanswered(wire_in: u64) -> Vec<String> {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
    traffic.packets.wire_in = wire_in;
    traffic.packets.overlay_in = wire_in;
    traffic.lost.wire_to_peer = 9;
    traffic.lost_early.wire_to_peer = 4;
    let findings = judge(&mut evidence).findings;
    findings.iter().map(|it| format!("{} {}: {}", it.code, it.impact.packets, it.title)).collect()
}

#[test]
fn a_flow_without_answer_is_told_when_its_peer_is_heard() {
    let [told] = &unanswered(30)[..] else { panic!("one finding") };
    assert!(told.starts_with("unexplained-loss 9: ") && told.ends_with("lost after wire_out"));
    let [told] = &unanswered(0)[..] else { panic!("one finding") };
    assert!(told.starts_with("tunnel-one-way"), "{told}");
}

#[test]
fn a_cluster_wide_blackhole_under_a_missing_route_asks_for_a_restart() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    lose_route(&mut evidence, &plan);
    tables(&mut evidence)
        .routes
        .push(refusing("10.244.0.0/16".parse().unwrap(), RouteKind::Blackhole));
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), [format!("pod-route-blackholed {}", plan.hit_cidr())]);
    let remedy = &diagnosis.findings[0].remedy;
    assert!(remedy[0].starts_with("kubectl -n kube-flannel delete pod"), "{remedy:?}");
}

#[test]
fn the_route_that_refuses_is_the_longest_match() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    let wide = "10.244.0.0/16".parse().unwrap();
    tables(&mut evidence).routes.push(refusing(wide, RouteKind::Blackhole));
    blackhole(&mut evidence, &plan, RouteKind::Blackhole);
    let finding = judge(&mut evidence).findings.remove(0);
    assert_eq!(finding.remedy[0], format!("ip route del blackhole {}", plan.hit_cidr()));
}

#[test]
fn the_remedy_speaks_the_words_of_the_platform() {
    let plan = Plan::of(2, Pass::SubnetEnv);
    for (platform, command) in [
        (Platform::K3sServer, "systemctl restart k3s"),
        (Platform::K3sAgent, "systemctl restart k3s-agent"),
        (
            Platform::Rke2Agent,
            "kubectl -n kube-system delete pod --field-selector spec.nodeName=n1 -l k8s-app=canal",
        ),
        (
            Platform::Talos,
            "kubectl -n kube-system delete pod --field-selector spec.nodeName=n1 -l k8s-app=flannel",
        ),
        (
            Platform::Kubeadm,
            "kubectl -n kube-flannel delete pod --field-selector spec.nodeName=n1 -l app=flannel",
        ),
    ] {
        let mut evidence = plan.evidence();
        evidence.node.platform = platform;
        lose_route(&mut evidence, &plan);
        assert_eq!(judge(&mut evidence).findings[0].remedy[0], command);
    }
}

#[test]
fn entries_left_by_a_half_repaired_flap_are_told() {
    for (pass, seconds, told_of) in
        [(Pass::Tables, 0.0, true), (Pass::SubnetEnv, 0.0, true), (Pass::PeersFile, 0.0, false)]
    {
        let plan = Plan { seconds, ..Plan::of(3, pass) };
        let mut evidence = plan.evidence();
        let tables = tables(&mut evidence);
        tables.routes.retain(|route| route.destination != plan.hit_cidr());
        tables.neighbours.retain(|entry| entry.address != plan.hit_cidr().network());
        tables.fdb.push(fdb(mac(91), plan.node_ip(0)));
        let diagnosis = judge(&mut evidence);
        let line = format!("FDB entries for {} that no neighbour", plan.node_ip(plan.hit()));
        let found = diagnosis.unseen.iter().any(|it| it.starts_with(&line));
        assert_eq!(found, told_of, "{:?}", diagnosis.unseen);
        assert_eq!(diagnosis.findings.len(), usize::from(!told_of), "{diagnosis:?}");
    }
}
