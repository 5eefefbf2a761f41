//! VIPs of this node: `vip-arp-suppressed-by-sysctl`, `vip-answered-but-no-service-rules`,
//! `vip-answered-but-policy-drops`, and what a healthy node does with its own.

use std::net::IpAddr;

use super::{
    super::{
        Diagnosis, Severity, diagnose, exit_status,
        testing::{LO, POLICY, Pass, Plan, UPLINK, address, dropped, mac, tables, told},
    },
    vips::{client, in_vain, lan_client, owned, vip, vip_of, with},
};
use crate::{
    evidence::{Drop, DropFlow, DropPlace, Drops, Evidence, MacAddress, Vip, VipDevice, VipRules},
    topology::nth_address,
};

/// The MAC of the node's uplink.
const OWN: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const NAMED: VipRules = VipRules { named: true, dropped: false };
const DROPPED: VipRules = VipRules { named: true, dropped: true };

fn plan() -> Plan {
    Plan::of(3, Pass::PeersFile)
}

// === vip-arp-suppressed-by-sysctl ===

/// The VIP is on `lo`, a client asks for it in vain.
fn hidden(plan: &Plan, arp_ignore: u32) -> Evidence {
    let mut evidence = with(plan, vip(plan, vec![in_vain(plan)]));
    let own = address(LO, &vip_of(plan).to_string(), 32);
    tables(&mut evidence).addresses.push(own);
    let (interface, ifindex, arp_ignore) = ("eth0".to_owned(), UPLINK, Some(arp_ignore));
    let device = VipDevice { interface, ifindex, arp_ignore, responders: Some(0) };
    evidence.vips.as_mut().unwrap().devices = vec![device];
    evidence
}

fn device(evidence: &mut Evidence) -> &mut VipDevice {
    &mut evidence.vips.as_mut().unwrap().devices[0]
}

#[test]
fn an_address_that_the_kernel_keeps_back_is_told_instead_of_the_silence() {
    let plan = plan();
    for arp_ignore in [1, 2, 8] {
        let evidence = hidden(&plan, arp_ignore);
        let diagnosis = diagnose(&evidence);
        let code = "vip-arp-suppressed-by-sysctl";
        assert_eq!(told(&diagnosis), [format!("{code} {}", vip_of(&plan))], "{arp_ignore}");
        let finding = &diagnosis.findings[0];
        assert!(finding.title.contains("is on lo of n1"), "{}", finding.title);
        assert_eq!(finding.breaks, [format!("vip {}", vip_of(&plan))]);
        assert_eq!(exit_status(&diagnosis, &evidence, Severity::Critical), 0);
        assert_eq!(exit_status(&diagnosis, &evidence, Severity::Warning), 1);
    }
}

#[test]
fn who_has_another_reason_for_silence_is_told_that_nobody_answers() {
    let plan = plan();
    let unanswered = [format!("vip-arp-unanswered {}", vip_of(&plan))];
    for arp_ignore in [0, 3] {
        assert_eq!(told(&diagnose(&hidden(&plan, arp_ignore))), unanswered, "{arp_ignore}");
    }
    let mut with_speaker = hidden(&plan, 1);
    device(&mut with_speaker).responders = Some(1);
    assert_eq!(told(&diagnose(&with_speaker)), unanswered, "a program may answer");
    let mut unknown = hidden(&plan, 1);
    device(&mut unknown).responders = None;
    assert_eq!(told(&diagnose(&unknown)), unanswered, "nobody knows whether one may");
    let mut on_it = hidden(&plan, 1);
    tables(&mut on_it).addresses.last_mut().unwrap().ifindex = UPLINK;
    assert_eq!(told(&diagnose(&on_it)), unanswered, "on the device itself it is not kept back");
    let mut elsewhere = hidden(&plan, 1);
    tables(&mut elsewhere).addresses.pop();
    assert_eq!(told(&diagnose(&elsewhere)), unanswered, "another node's");
}

#[test]
fn a_kept_back_address_that_another_node_answers_for_is_how_ipvs_is_set_up() {
    let plan = plan();
    let mut evidence = hidden(&plan, 1);
    evidence.vips.as_mut().unwrap().entries[0].clients = vec![lan_client(&plan, 200)];
    assert_eq!(told(&diagnose(&evidence)), [""; 0]);
}

// === vip-answered-but-no-service-rules ===

/// This node claims the VIP and asks for it itself.
fn sent_back(plan: &Plan, rules: Option<VipRules>) -> Evidence {
    let vip = Vip { own_requests: 6, rules, ..owned(vip(plan, Vec::new()), OWN, 1.0) };
    with(plan, vip)
}

fn entry(evidence: &mut Evidence) -> &mut Vip {
    &mut evidence.vips.as_mut().unwrap().entries[0]
}

#[test]
fn a_node_without_rules_that_sends_a_vips_packets_back_is_told() {
    let plan = plan();
    let evidence = sent_back(&plan, Some(VipRules::default()));
    let diagnosis = diagnose(&evidence);
    let code = "vip-answered-but-no-service-rules";
    assert_eq!(told(&diagnosis), [format!("{code} {}", vip_of(&plan))]);
    assert_eq!(exit_status(&diagnosis, &evidence, Severity::Critical), 1);
    let finding = &diagnosis.findings[0];
    assert!(finding.title.contains("n1 announces"), "{}", finding.title);
    assert!(finding.evidence.iter().any(|line| line.contains("neither a chain")));
}

#[test]
fn a_ping_of_a_vip_that_is_served_is_no_fault() {
    let plan = plan();
    let diagnosis = diagnose(&sent_back(&plan, Some(NAMED)));
    assert_eq!(told(&diagnosis), [""; 0]);
    assert!(!diagnosis.unseen.iter().any(|line| line.contains("VIP")), "{:?}", diagnosis.unseen);
}

#[test]
fn rules_that_were_not_read_are_no_missing_ones() {
    let plan = plan();
    let diagnosis = diagnose(&sent_back(&plan, None));
    assert_eq!(told(&diagnosis), [""; 0]);
    assert!(diagnosis.unseen.iter().any(|line| line.contains("kube-proxy's rules for it")));
}

#[test]
fn who_does_not_claim_it_or_has_it_as_an_address_sends_nothing_back() {
    let plan = plan();
    let none = Some(VipRules::default());
    let mut of_peer = sent_back(&plan, none);
    entry(&mut of_peer).owner.as_mut().unwrap().mac = mac(plan.hit());
    assert_eq!(told(&diagnose(&of_peer)), [""; 0], "another node's");
    let mut on_device = sent_back(&plan, none);
    tables(&mut on_device).addresses.push(address(UPLINK, &vip_of(&plan).to_string(), 32));
    assert_eq!(told(&diagnose(&on_device)), [""; 0], "kube-vip, IPVS");
    let mut few = sent_back(&plan, none);
    entry(&mut few).own_requests = 2;
    assert_eq!(told(&diagnose(&few)), [""; 0], "one try is not over yet");
    let mut replaced = sent_back(&plan, none);
    let hook = replaced.hooks[0].clone();
    let foreign = vec!["cil_from_netdev".to_owned()];
    let hook = crate::evidence::Hook { interface: "eth0".to_owned(), foreign, ..hook };
    replaced.vips.as_mut().unwrap().hooks = vec![hook];
    let diagnosis = diagnose(&replaced);
    assert_eq!(told(&diagnosis), [""; 0], "without kube-proxy");
    assert!(diagnosis.unseen.iter().any(|line| line.contains("cil_from_netdev")));
}

// === vip-answered-but-policy-drops ===

/// Connections of a client that a filter drops where they come in.
fn drops(source: IpAddr, destination: IpAddr) -> Drops {
    let flow = |source_port| DropFlow {
        source,
        destination,
        protocol: 6,
        source_port,
        destination_port: 80,
    };
    let drop = |(source_port, early)| Drop {
        interface: Some("eth0".to_owned()),
        packets: 2,
        early,
        flow: Some(flow(source_port)),
        ..dropped()
    };
    let entries: Vec<Drop> = [(40_001, 2), (40_002, 2), (40_003, 0)].map(drop).into();
    Drops { packets: 6, headers_read: true, has_reasons: true, entries, ..Drops::default() }
}

fn claimed(plan: &Plan, rules: Option<VipRules>) -> Evidence {
    let client = lan_client(plan, 200);
    with(plan, Vip { rules, ..owned(vip(plan, vec![client]), OWN, 1.0) })
}

fn judged(plan: &Plan, rules: Option<VipRules>, destination: IpAddr) -> (Diagnosis, Evidence) {
    let mut evidence = claimed(plan, rules);
    evidence.drops = Some(drops(lan_client(plan, 200).address, destination));
    (diagnose(&evidence), evidence)
}

#[test]
fn a_vip_whose_packets_are_dropped_is_told_with_them() {
    let plan = plan();
    let pods = [plan.own_cidr(), plan.hit_cidr()].map(|cidr| nth_address(cidr, 5));
    for destination in [vip_of(&plan), pods[0], pods[1]] {
        let (diagnosis, evidence) = judged(&plan, Some(DROPPED), destination);
        let code = "vip-answered-but-policy-drops";
        assert_eq!(told(&diagnosis), [format!("{code} {}", vip_of(&plan))], "{destination}");
        assert_eq!(diagnosis.findings[0].severity, Severity::Warning);
        assert_eq!(diagnosis.findings[0].impact.packets, 6);
        assert_eq!(diagnosis.drop_causes, [code; 3]);
        assert_eq!(exit_status(&diagnosis, &evidence, Severity::Warning), 1);
    }
}

#[test]
fn what_may_be_meant_is_not_told() {
    let plan = plan();
    let (diagnosis, _) = judged(&plan, Some(NAMED), vip_of(&plan));
    assert_eq!(told(&diagnosis), [""; 0], "a scan of a port that is no service's");
    assert!(diagnosis.unseen.iter().any(|line| line.contains("no rule that drops it")));
    let pod = nth_address(plan.own_cidr(), 5);
    let mut with_policies = claimed(&plan, Some(NAMED));
    with_policies.drops = Some(drops(lan_client(&plan, 200).address, pod));
    with_policies.intent.policy_netfilter = vec![POLICY.to_owned()];
    assert_eq!(told(&diagnose(&with_policies)), [""; 0], "a network policy");
}

#[test]
fn drops_of_others_are_not_the_vips() {
    let plan = plan();
    let pod = nth_address(plan.own_cidr(), 5);
    let client_address = lan_client(&plan, 200).address;
    let silent = |what: &str, change: &dyn Fn(&mut Evidence)| {
        let mut evidence = claimed(&plan, Some(DROPPED));
        evidence.drops = Some(drops(client_address, pod));
        change(&mut evidence);
        let told = told(&diagnose(&evidence));
        assert!(!told.iter().any(|it| it.starts_with("vip-")), "{what}: {told:?}");
    };
    silent("another node claims it", &|evidence| {
        entry(evidence).owner.as_mut().unwrap().mac = mac(plan.hit());
    });
    silent("it never asked for the VIP", &|evidence| {
        let (other, mac) =
            (IpAddr::from([192, 168, plan.lan, 77]), MacAddress([2, 9, 9, 9, 9, 77]));
        entry(evidence).clients = vec![client(other, mac, &[1.0])];
    });
    silent("a single connection", &|evidence| {
        evidence.drops.as_mut().unwrap().entries.truncate(1);
    });
    silent("in a pod", &|evidence| {
        let entries = &mut evidence.drops.as_mut().unwrap().entries;
        entries.iter_mut().for_each(|drop| drop.place = DropPlace::Pod);
    });
    silent("by another device", &|evidence| {
        let entries = &mut evidence.drops.as_mut().unwrap().entries;
        entries.iter_mut().for_each(|drop| drop.interface = Some("eth1".to_owned()));
    });
    silent("for another reason", &|evidence| {
        let entries = &mut evidence.drops.as_mut().unwrap().entries;
        entries.iter_mut().for_each(|drop| drop.reason = Some("IP_INHDR".to_owned()));
    });
}
