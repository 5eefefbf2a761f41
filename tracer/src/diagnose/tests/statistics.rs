//! Faults that the kernel's statistics and settings tell.

use super::super::{
    Diagnosis, PeerState, Severity, diagnose,
    testing::{
        OVERLAY, PASSES, Pass, Plan, UPLINK, VETH, dual, finds_nothing, judge, judge_ipv4, link,
        peer_traffic, tables, told, twin, via,
    },
};
use crate::evidence::{
    Conntrack, DontFragment, Evidence, NeighbourTable, RpFilter, SnmpCounters, Statistics,
};

fn statistics(evidence: &mut Evidence) -> &mut Statistics {
    evidence.statistics.get_or_insert_default()
}

fn set_df(evidence: &mut Evidence, df: DontFragment) {
    let overlay = tables(evidence).links.iter_mut().find(|it| it.index == OVERLAY);
    overlay.unwrap().vxlan.as_mut().unwrap().df = df;
}

fn narrow_uplink(evidence: &mut Evidence) {
    tables(evidence).links.iter_mut().find(|it| it.index == UPLINK).unwrap().mtu = 1400;
}

fn lose(evidence: &mut Evidence, packets: u64) {
    for peer in evidence.traffic.iter_mut().flat_map(|it| &mut it.peers) {
        (peer.lost.overlay_to_wire, peer.lost_early.overlay_to_wire) = (packets, packets / 2);
        peer.packets.wire_out -= packets;
    }
}

fn with(plan: &Plan, change: impl FnOnce(&mut Evidence)) -> Diagnosis {
    let mut evidence = plan.evidence();
    change(&mut evidence);
    judge(&mut evidence)
}

// === outer-df-set ===

/// The setting concerns outer packets of IPv4 alone: IPv6 still sends fragments.
#[test]
fn a_tunnel_that_is_too_large_and_forbids_fragments_drops_full_packets() {
    for df in [DontFragment::Set, DontFragment::Inherit] {
        for pass in PASSES {
            let mut evidence = Plan::of(3, pass).evidence();
            set_df(&mut evidence, df);
            narrow_uplink(&mut evidence);
            let diagnosis = judge_ipv4(&mut evidence);
            assert_eq!(told(&diagnosis), ["outer-df-set flannel.1"]);
            assert_eq!(diagnosis.findings[0].severity, Severity::Critical);
            assert!(diagnosis.peers.iter().all(|it| it.state == PeerState::Ok), "nothing was lost");
            let of_ipv6 = told(&diagnose(&twin(&evidence).unwrap()));
            assert_eq!(of_ipv6, ["tunnel-fragments-outer flannel-v6.1"]);
        }
    }
}

#[test]
fn of_both_ip_versions_only_ipv4_drops() {
    let mut evidence = Plan::of(3, Pass::SubnetEnv).evidence();
    narrow_uplink(&mut evidence);
    let twin = twin(&evidence).unwrap();
    set_df(&mut evidence, DontFragment::Set);
    let found = told(&diagnose(&dual(&evidence, &twin, &evidence)));
    assert_eq!(found, ["outer-df-set flannel.1", "tunnel-fragments-outer flannel-v6.1"]);
}

#[test]
fn what_was_lost_by_its_size_is_explained() {
    let mut evidence = Plan::of(3, Pass::SubnetEnv).evidence();
    set_df(&mut evidence, DontFragment::Set);
    narrow_uplink(&mut evidence);
    lose(&mut evidence, 10);
    let snmp = SnmpCounters { ip_fragment_fails: 20, ..SnmpCounters::default() };
    statistics(&mut evidence).snmp = Some(snmp);
    let diagnosis = judge_ipv4(&mut evidence);
    assert_eq!(told(&diagnosis), ["outer-df-set flannel.1"]);
    let finding = &diagnosis.findings[0];
    assert_eq!(finding.impact.packets, 20);
    assert!(finding.evidence.iter().any(|it| it.contains("refused 20 packets")), "{finding:?}");
    assert!(diagnosis.peers.iter().all(|it| it.state == PeerState::Broken));
    assert_eq!(finding.remedy[0], "ip link set flannel.1 type vxlan df unset");
}

#[test]
fn with_room_enough_the_setting_does_no_harm() {
    for df in [DontFragment::Set, DontFragment::Inherit] {
        finds_nothing(|evidence| set_df(evidence, df));
    }
}

#[test]
fn without_the_setting_full_packets_leave_in_fragments() {
    let diagnosis = with(&Plan::of(3, Pass::Tables), narrow_uplink);
    assert_eq!(told(&diagnosis), ["tunnel-fragments-outer flannel.1"]);
}

#[test]
fn the_small_device_of_one_peer_is_enough() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    set_df(&mut evidence, DontFragment::Set);
    let mut vpn = link(32, "tailscale0", Some("tun"));
    vpn.mtu = 1280;
    tables(&mut evidence).links.push(vpn);
    tables(&mut evidence).routes.push(via(plan.node_ip(plan.hit()).into(), None, 32));
    let finding = judge_ipv4(&mut evidence).findings.remove(0);
    assert_eq!(finding.code, "outer-df-set");
    assert!(finding.evidence[1].starts_with("tailscale0, the kernel's way to 1 of 2 peers"));
}

// === bridge-nf-call-off ===

/// A node with kube-proxy and two pods, where iptables does not see the bridge.
fn switch_off(evidence: &mut Evidence, setting: Option<bool>) {
    evidence.intent.service_netfilter = vec!["chain KUBE-SERVICES".to_owned()];
    let statistics = statistics(evidence);
    (statistics.settings_read, statistics.bridge_nf_call) = (true, setting);
}

#[test]
fn a_bridge_that_iptables_does_not_see_is_told() {
    for (setting, first) in [
        (Some(false), "sysctl -w net.bridge.bridge-nf-call-iptables=1"),
        (None, "modprobe br_netfilter"),
    ] {
        for pass in PASSES {
            let mut evidence = Plan::of(3, pass).evidence();
            switch_off(&mut evidence, setting);
            let diagnosis = judge_ipv4(&mut evidence);
            assert_eq!(told(&diagnosis), ["bridge-nf-call-off cni0"]);
            let finding = &diagnosis.findings[0];
            assert_eq!((finding.severity, finding.remedy[0].as_str()), (Severity::Warning, first));
            // The setting is that of IPv4.
            assert_eq!(told(&diagnose(&twin(&evidence).unwrap())), [""; 0]);
        }
    }
}

#[test]
fn a_bridge_that_iptables_sees_is_healthy() {
    finds_nothing(|evidence| switch_off(evidence, Some(true)));
    finds_nothing(|evidence| {
        switch_off(evidence, Some(false));
        statistics(evidence).bridges_calling = vec!["cni0".to_owned()];
    });
}

#[test]
fn without_proof_that_it_matters_the_bridges_setting_is_nothing() {
    finds_nothing(|evidence| {
        switch_off(evidence, Some(false));
        evidence.intent.service_netfilter.clear();
    });
    finds_nothing(|evidence| {
        switch_off(evidence, None);
        statistics(evidence).settings_read = false;
    });
    finds_nothing(|evidence| {
        switch_off(evidence, Some(false));
        tables(evidence).links.retain(|link| link.index != VETH);
    });
    let bare = Plan { pods: 0, ..Plan::of(3, Pass::Tables) };
    assert_eq!(told(&with(&bare, |evidence| switch_off(evidence, Some(false)))), [""; 0]);
}

#[test]
fn another_bridges_own_setting_does_not_help() {
    let mut evidence = Plan::of(3, Pass::Tables).evidence();
    switch_off(&mut evidence, Some(false));
    statistics(&mut evidence).bridges_calling = vec!["docker0".to_owned()];
    assert_eq!(told(&judge_ipv4(&mut evidence)), ["bridge-nf-call-off cni0"]);
}

// === conntrack-table-full, neigh-table-overflow ===

fn fill_conntrack(evidence: &mut Evidence, entries: u64, dropped: u64) {
    let conntrack = Conntrack { entries, most: 1000, dropped, insert_failed: 7 };
    statistics(evidence).conntrack = Some(conntrack);
}

fn fill_neighbours(evidence: &mut Evidence, refused: u64) {
    let table = |family| NeighbourTable { family, entries: 1024, most: 1024, refused };
    statistics(evidence).neighbour_tables = vec![table(4), table(6)];
}

#[test]
fn a_full_table_that_refuses_is_told_of_the_node() {
    for pass in PASSES {
        let plan = Plan::of(3, pass);
        let diagnosis = with(&plan, |evidence| fill_conntrack(evidence, 990, 12));
        assert_eq!(told(&diagnosis), ["conntrack-table-full n1"]);
        assert!(diagnosis.findings[0].evidence[1].starts_with("12 packets"));
        assert_eq!(diagnosis.findings[0].severity, Severity::Critical);
        assert!(diagnosis.peers.iter().all(|it| it.state == PeerState::Ok), "nothing was lost");
        let diagnosis = with(&plan, |evidence| fill_neighbours(evidence, 3));
        assert_eq!(told(&diagnosis), ["neigh-table-overflow n1"]);
        assert_eq!(diagnosis.findings[0].severity, Severity::Critical);
    }
}

#[test]
fn losses_of_a_full_table_are_explained() {
    for change in
        [(|it| fill_conntrack(it, 1000, 30)) as fn(&mut Evidence), |it| fill_neighbours(it, 9)]
    {
        let diagnosis = with(&Plan::of(3, Pass::SubnetEnv), |evidence| {
            lose(evidence, 10);
            change(evidence);
        });
        assert_eq!(diagnosis.findings.len(), 1, "{:?}", told(&diagnosis));
        assert_eq!(diagnosis.findings[0].impact.packets, 20);
    }
}

#[test]
fn a_table_that_is_full_or_refuses_but_not_both_is_healthy() {
    finds_nothing(|evidence| fill_conntrack(evidence, 1000, 0));
    // A helper or a race dropped these.
    finds_nothing(|evidence| fill_conntrack(evidence, 500, 12));
    finds_nothing(|evidence| {
        fill_conntrack(evidence, 0, 12);
        statistics(evidence).conntrack.as_mut().unwrap().most = 0;
    });
    // Full of what can be thrown out.
    finds_nothing(|evidence| fill_neighbours(evidence, 0));
}

#[test]
fn the_table_of_the_other_ip_version_is_not_this_ones() {
    let mut evidence = Plan::of(3, Pass::Tables).evidence();
    fill_neighbours(&mut evidence, 5);
    statistics(&mut evidence).neighbour_tables.retain(|it| it.family == 6);
    assert_eq!(told(&judge_ipv4(&mut evidence)), [""; 0]);
    assert_eq!(told(&diagnose(&twin(&evidence).unwrap())), ["neigh-table-overflow n1"]);
}

// === rp-filter-drops-outer ===

const SECOND: u32 = 33;

/// The hit peer's node is routed by a second card, while its packets come in by the first and get no
/// further.
fn cross(evidence: &mut Evidence, plan: &Plan, all: u8, first: u8, dropped: u64) {
    tables(evidence).links.push(link(SECOND, "eth1", None));
    tables(evidence).routes.push(via(plan.node_ip(plan.hit()).into(), None, SECOND));
    let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
    (traffic.packets.overlay_in, traffic.packets.pod_in) = (0, 0);
    (traffic.lost.wire_to_overlay, traffic.lost_early.wire_to_overlay) = (40, 20);
    let setting =
        |interface: Option<&str>, mode| RpFilter { interface: interface.map(str::to_owned), mode };
    let statistics = statistics(evidence);
    statistics.rp_filter = vec![setting(None, all), setting(Some("eth0"), first)];
    let snmp = SnmpCounters { tcp_ext_reverse_path_filter: dropped, ..SnmpCounters::default() };
    statistics.snmp = Some(snmp);
}

fn crossed(pass: Pass, all: u8, first: u8, dropped: u64) -> Diagnosis {
    let plan = Plan::of(3, pass);
    let mut evidence = plan.evidence();
    cross(&mut evidence, &plan, all, first, dropped);
    judge_ipv4(&mut evidence)
}

#[test]
fn a_strict_reverse_path_drops_what_comes_in_by_another_device() {
    for pass in PASSES {
        for (all, first) in [(0, 1), (1, 0), (1, 1)] {
            let diagnosis = crossed(pass, all, first, 40);
            let hit = Plan::of(3, pass).hit_cidr();
            assert_eq!(told(&diagnosis), [format!("rp-filter-drops-outer {hit}")]);
            let finding = &diagnosis.findings[0];
            assert_eq!(finding.severity, Severity::Critical);
            assert_eq!(finding.remedy[0], "sysctl -w net/ipv4/conf/eth0/rp_filter=2");
            assert!(finding.impact.packets >= 40, "{finding:?}");
        }
    }
}

#[test]
fn without_a_strict_setting_or_a_count_it_is_unexplained() {
    for (all, first, dropped) in [(0, 0, 40), (2, 1, 40), (0, 1, 0), (0, 1, 39)] {
        let told = told(&crossed(Pass::SubnetEnv, all, first, dropped));
        let is_it = |it: &String| it.starts_with("rp-filter-drops-outer");
        assert!(!told.is_empty() && !told.iter().any(is_it), "{all} {first} {dropped}: {told:?}");
    }
}

#[test]
fn a_second_card_without_loss_is_healthy_with_a_strict_reverse_path() {
    for pass in PASSES {
        let plan = Plan::of(3, pass);
        let healthy = plan.evidence();
        let mut evidence = plan.evidence();
        cross(&mut evidence, &plan, 1, 1, 40);
        evidence.traffic = healthy.traffic;
        assert_eq!(told(&judge_ipv4(&mut evidence)), [""; 0]);
    }
}
