//! Which IP versions flannel serves on a node, where only its devices and rules tell.

use super::super::{
    Severity, diagnose, exit_status,
    testing::{BRIDGE, OVERLAY, Pass, Plan, address, fdb, mac, observe, tables, told},
};
use crate::evidence::{Evidence, FdbEntry};

/// A node of IPv4 without a subnet.env, beside whose device another for IPv6 is there, with nothing
/// that leads by it.
fn with_left_over_device(plan: &Plan) -> Evidence {
    let mut evidence = plan.evidence();
    let own = tables(&mut evidence);
    let mut left_over = own.link(OVERLAY).unwrap().clone();
    (left_over.index, left_over.name, left_over.mtu) = (42, "flannel-v6.1".to_owned(), 1430);
    left_over.vxlan.as_mut().unwrap().local = "fd00:77::11".parse().ok();
    own.links.push(left_over);
    evidence
}

#[test]
fn a_left_over_device_by_which_nothing_leads_is_not_judged() {
    let plan = Plan::of(3, Pass::Tables);
    for up in [true, false] {
        let mut evidence = with_left_over_device(&plan);
        tables(&mut evidence).links.last_mut().unwrap().up = up;
        observe(&mut evidence);
        assert_eq!(evidence.roles.overlay6, Some(42));
        let diagnosis = diagnose(&evidence);
        assert_eq!(told(&diagnosis), [""; 0], "up: {up}");
        assert_eq!(exit_status(&diagnosis, &evidence, Severity::Warning), 0);
    }
}

#[test]
fn a_device_that_is_down_is_told_where_pods_or_a_peers_entry_need_it() {
    let plan = Plan::of(3, Pass::Tables);
    let by_pods = |evidence: &mut Evidence| {
        tables(evidence).addresses.push(address(BRIDGE, "fd00:244:0:1::1", 64));
    };
    let by_entry = |evidence: &mut Evidence| {
        let entry = fdb(mac(2), "fd00:77::12".parse().unwrap());
        tables(evidence).fdb.push(FdbEntry { ifindex: 42, ..entry });
    };
    for need in [by_pods, by_entry] {
        let mut evidence = with_left_over_device(&plan);
        tables(&mut evidence).links.last_mut().unwrap().up = false;
        need(&mut evidence);
        observe(&mut evidence);
        assert_eq!(told(&diagnose(&evidence)), ["flannel-link-down flannel-v6.1"]);
    }
}

#[test]
fn a_missing_device_of_which_the_nft_table_tells_nothing_is_unseen() {
    let plan = Plan { seconds: 0.0, ..Plan::of(3, Pass::Tables) };
    let is_told = |signs: &[&str], has_pods: bool| {
        let mut evidence = plan.evidence();
        evidence.intent.flannel_netfilter = signs.iter().map(|it| (*it).to_owned()).collect();
        if has_pods {
            tables(&mut evidence).addresses.push(address(BRIDGE, "fd00:244:0:1::1", 64));
        }
        observe(&mut evidence);
        let diagnosis = diagnose(&evidence);
        assert!(!told(&diagnosis).iter().any(|it| it.contains("v6")), "{:?}", told(&diagnosis));
        diagnosis.unseen.iter().any(|it| it.starts_with("IPv6: pods of cni0 have addresses"))
    };
    let both = ["nft table ip flannel-ipv4", "nft table ip6 flannel-ipv6"];
    assert!(is_told(&both, true));
    assert!(!is_told(&both, false), "IPv4 alone");
    assert!(!is_told(&both[..1], true), "IPv6 of something else");
}
