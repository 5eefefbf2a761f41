//! VIPs in JSON.

use std::net::IpAddr;

use super::json_of;
use crate::{
    diagnose::testing::{Pass, Plan, UPLINK},
    evidence::{Evidence, Hook, HookDirection, MacAddress, Vip, VipClient, VipRules, Vips},
};

fn evidence(clients: u8, rules: Option<VipRules>) -> Evidence {
    let client = |last| VipClient {
        address: IpAddr::from([192, 168, 77, last]),
        mac: MacAddress([2, 9, 9, 9, 9, last]),
        requests: 1,
        asked: vec![1.0],
    };
    let vip = Vip {
        address: "192.168.77.230".parse().unwrap(),
        interface: Some("eth0".to_owned()),
        given: true,
        requests: u64::from(clients),
        own_requests: 0,
        clients: (0..clients).map(client).collect(),
        replies: 0,
        gratuitous: 0,
        announcers: Vec::new(),
        owner: None,
        owner_changes: 0,
        gratuitous_age: None,
        rules,
    };
    let refused = Hook {
        interface: "eth0".to_owned(),
        ifindex: UPLINK,
        direction: HookDirection::Ingress,
        attached: false,
        because: "refused".to_owned(),
        foreign: Vec::new(),
    };
    let vips = Vips { entries: vec![vip], hooks: vec![refused], ..Vips::default() };
    Evidence { vips: Some(vips), ..Plan::of(2, Pass::Tables).evidence() }
}

#[test]
fn clients_are_listed_to_the_hundredth_and_the_rest_is_counted() {
    let few = json_of(&evidence(100, None));
    assert_eq!(few["vips"][0]["clients"].as_array().unwrap().len(), 100);
    assert!(few["truncated"].get("vip_clients").is_none());
    let many = json_of(&evidence(150, None));
    assert_eq!(many["vips"][0]["clients"].as_array().unwrap().len(), 100);
    assert_eq!(many["truncated"]["vip_clients"], 50);
}

#[test]
fn a_vip_is_ours_by_kube_proxys_rules_too() {
    let served = |named| Some(VipRules { named, dropped: false });
    for (rules, ours, known) in
        [(None, false, None), (served(false), false, Some(false)), (served(true), true, Some(true))]
    {
        let json = json_of(&evidence(1, rules));
        let vip = &json["vips"][0];
        assert_eq!((&vip["ours"], &vip["on_device"]), (&ours.into(), &false.into()), "{vip}");
        assert_eq!(vip["service_rules"], serde_json::json!(known), "{vip}");
    }
}

#[test]
fn an_uplink_is_attached_when_only_its_program_for_vips_is_refused() {
    let json = json_of(&evidence(1, None));
    let uplinks: Vec<_> = json["interfaces"].as_array().unwrap().iter().collect();
    let uplink = uplinks.into_iter().find(|it| it["role"] == "uplink").unwrap();
    assert_eq!(uplink["attached"], true, "{uplink}");
}
