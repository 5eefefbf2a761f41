//! VIPs: `vip-arp-unanswered`, `vip-arp-two-macs`, `vip-conflicts-with-foreign-host`, and who asks or answers on healthy nodes.

use std::net::IpAddr;

use super::super::{
    Severity, diagnose, exit_status,
    testing::{Pass, Plan, UPLINK, mac, neighbour, tables, told},
};
use crate::evidence::{Evidence, MacAddress, Vip, VipAnnouncer, VipClient, VipOwner, Vips};

pub(super) fn vip_of(plan: &Plan) -> IpAddr {
    IpAddr::from([192, 168, plan.lan, 230])
}

pub(super) fn lan_client(plan: &Plan, last: u8) -> VipClient {
    client(IpAddr::from([192, 168, plan.lan, last]), MacAddress([2, 9, 9, 9, 9, last]), &[])
}

pub(super) fn client(address: IpAddr, mac: MacAddress, asked: &[f64]) -> VipClient {
    VipClient { address, mac, requests: asked.len() as u64, asked: asked.to_vec() }
}

/// As a kernel was seen to ask, the latest first.
const IN_VAIN: [f64; 4] = [0.2, 1.66, 2.684, 3.708];

/// The kernel asks three times a second apart, gives up, and begins anew with the next packet.
pub(super) fn in_vain(plan: &Plan) -> VipClient {
    VipClient { requests: 5, asked: IN_VAIN.to_vec(), ..lan_client(plan, 200) }
}

pub(super) fn vip(plan: &Plan, clients: Vec<VipClient>) -> Vip {
    Vip {
        address: vip_of(plan),
        interface: Some("eth0".to_owned()),
        given: true,
        requests: clients.iter().map(|it| it.requests).sum(),
        own_requests: 0,
        clients,
        replies: 0,
        gratuitous: 0,
        announcers: Vec::new(),
        owner: None,
        owner_changes: 0,
        gratuitous_age: None,
        rules: None,
    }
}

pub(super) fn owned(vip: Vip, mac: MacAddress, age: f64) -> Vip {
    let (replies, gratuitous, early, from_here, first_age) = (0, 1, 0, 0, age);
    let announcer = VipAnnouncer { mac, replies, gratuitous, early, from_here, age, first_age };
    let owner = VipOwner { mac, since_age: age, age, former: None, gap: None };
    Vip {
        announcers: vec![announcer],
        owner: Some(owner),
        gratuitous: 1,
        gratuitous_age: Some(age),
        ..vip
    }
}

pub(super) fn with(plan: &Plan, vip: Vip) -> Evidence {
    let mut evidence = plan.evidence();
    let entry = neighbour(UPLINK, plan.node_ip(plan.hit()), mac(plan.hit()));
    tables(&mut evidence).neighbours.push(entry);
    evidence.vips = Some(Vips { entries: vec![vip], ..Vips::default() });
    evidence
}

#[test]
fn a_client_that_asks_again_and_again_shows_that_nobody_answers() {
    for pass in [Pass::Tables, Pass::SubnetEnv, Pass::PeersFile] {
        let plan = Plan::of(3, pass);
        let evidence = with(&plan, vip(&plan, vec![in_vain(&plan), lan_client(&plan, 201)]));
        let diagnosis = diagnose(&evidence);
        assert_eq!(told(&diagnosis), [format!("vip-arp-unanswered {}", vip_of(&plan))]);
        assert_eq!(exit_status(&diagnosis, &evidence, Severity::Critical), 1);
        let finding = &diagnosis.findings[0];
        assert!(finding.evidence[0].contains("3.7, 2.7, 1.7, 0.2 s before"), "{finding:#?}");
        let label = "node.kubernetes.io/exclude-from-external-load-balancers";
        assert!(finding.remedy.iter().any(|line| line.contains(label)));
        assert_eq!(finding.subject.interface.as_deref(), Some("eth0"));
    }
}

#[test]
fn an_owner_that_fell_silent_is_named() {
    let plan = Plan::of(3, Pass::Tables);
    let silent = owned(vip(&plan, vec![in_vain(&plan)]), mac(2), 60.0);
    let diagnosis = diagnose(&with(&plan, silent));
    assert_eq!(told(&diagnosis).len(), 1);
    let line = diagnosis.findings[0].evidence.last().unwrap();
    assert!(line.contains("claimed it last, 60.0 s before"), "{line}");
}

fn assert_silent(what: &str, change: impl Fn(&Plan) -> Vip) {
    let plan = Plan::of(3, Pass::PeersFile);
    assert_eq!(told(&diagnose(&with(&plan, change(&plan)))), [""; 0], "{what}");
}

#[test]
fn clients_that_have_an_answer_are_no_fault() {
    assert_silent("ten clients ask once, another node answers them", |plan| {
        let asks = |last| VipClient { requests: 1, asked: vec![1.0], ..lan_client(plan, last) };
        vip(plan, (200..210).map(asks).collect())
    });
    assert_silent("one client asks three times, and has an answer then", |plan| {
        let asked = vec![1.0, 2.0, 3.0];
        vip(plan, vec![VipClient { requests: 3, asked, ..lan_client(plan, 200) }])
    });
    assert_silent("one client asks four times in all, now and then", |plan| {
        let asked = vec![0.1, 1.1, 30.0, 60.0];
        vip(plan, vec![VipClient { requests: 4, asked, ..lan_client(plan, 200) }])
    });
    for period in [0.5, 1.0, 1.5, 2.0, 3.0] {
        assert_silent("a program asks by the clock, whatever the answer is", |plan| {
            let asked = [0, 1, 2, 3, 4].map(|number| 0.1 + f64::from(number) * period).to_vec();
            vip(plan, vec![VipClient { requests: 5, asked, ..lan_client(plan, 200) }])
        });
    }
    assert_silent("it was late once", |plan| {
        let asked = vec![0.1, 1.1, 2.1, 3.13];
        vip(plan, vec![VipClient { requests: 5, asked, ..lan_client(plan, 200) }])
    });
    assert_silent("a burst is not what a client without an answer sends", |plan| {
        let asked = vec![1.00, 1.01, 1.02, 1.03];
        vip(plan, vec![VipClient { requests: 4000, asked, ..lan_client(plan, 200) }])
    });
}

#[test]
fn a_vip_that_is_claimed_while_a_client_asks_is_no_fault() {
    assert_silent("a failover: the new owner has announced it", |plan| {
        owned(vip(plan, vec![in_vain(plan)]), mac(2), 0.1)
    });
}

#[test]
fn a_node_of_the_cluster_that_asks_is_no_proof() {
    let plan = Plan::of(3, Pass::PeersFile);
    let asked = IN_VAIN;
    let (node, its_mac) = (plan.node_ip(plan.hit()), mac(plan.hit()));
    let stranger = IpAddr::from([192, 168, plan.lan, 99]);
    for client in [
        client(node, MacAddress([2, 9, 9, 9, 9, 9]), &asked),
        client(stranger, its_mac, &asked),
        client(plan.node_ip(plan.own), MacAddress([2, 9, 9, 9, 9, 9]), &asked),
    ] {
        let evidence = with(&plan, vip(&plan, vec![client.clone()]));
        assert_eq!(told(&diagnose(&evidence)), [""; 0], "{client:?}");
    }
}

/// MACs that claim a VIP in both halves of the window, in turn.
fn claimed_by(plan: &Plan, macs: &[MacAddress], owner_changes: u64) -> Vip {
    let announcer = |mac: &MacAddress| VipAnnouncer {
        mac: *mac,
        replies: 0,
        gratuitous: 4,
        early: 2,
        from_here: 0,
        age: 0.5,
        first_age: 8.0,
    };
    Vip {
        announcers: macs.iter().map(announcer).collect(),
        owner_changes,
        ..owned(vip(plan, Vec::new()), macs[0], 0.5)
    }
}

const FOREIGN: MacAddress = MacAddress([0x3c, 0x52, 0x82, 0, 0, 9]);

/// The MACs of the peers' nodes, of which all are known.
fn with_all_known(plan: &Plan, vip: Vip) -> Evidence {
    let mut evidence = with(plan, vip);
    for peer in plan.peers() {
        let entry = neighbour(UPLINK, plan.node_ip(peer), mac(peer));
        tables(&mut evidence).neighbours.push(entry);
    }
    evidence
}

#[test]
fn two_nodes_that_claim_a_vip_in_turn_are_told() {
    let plan = Plan::of(3, Pass::Tables);
    let macs: Vec<MacAddress> = plan.peers().map(mac).collect();
    let diagnosis = diagnose(&with_all_known(&plan, claimed_by(&plan, &macs, 7)));
    assert_eq!(told(&diagnosis), [format!("vip-arp-two-macs {}", vip_of(&plan))]);
    assert_eq!(diagnosis.findings[0].evidence.len(), 2);
}

#[test]
fn a_machine_outside_the_cluster_that_claims_a_vip_of_a_node_is_told() {
    let plan = Plan::of(3, Pass::Tables);
    let macs = [mac(plan.hit()), FOREIGN];
    let vip = claimed_by(&plan, &macs, 7);
    let diagnosis = diagnose(&with_all_known(&plan, vip.clone()));
    assert_eq!(told(&diagnosis), [format!("vip-conflicts-with-foreign-host {}", vip_of(&plan))]);
    assert!(diagnosis.findings[0].title.contains("3c:52:82:00:00:09"));
    // It may be the node whose MAC is not known.
    let mut unknown = with(&plan, vip);
    let node = plan.node_ip(plan.peers().next().unwrap());
    tables(&mut unknown).neighbours.retain(|entry| entry.address != node);
    let diagnosis = diagnose(&unknown);
    assert_eq!(told(&diagnosis), [""; 0]);
    assert!(diagnosis.unseen.iter().any(|line| line.contains("not all nodes' MACs")));
}

#[test]
fn a_node_that_takes_a_vip_by_two_devices_is_no_conflict() {
    let plan = Plan::of(3, Pass::Tables);
    let mut taken = claimed_by(&plan, &[mac(plan.hit()), FOREIGN], 9);
    for announcer in &mut taken.announcers {
        announcer.first_age = announcer.age + 4.4;
    }
    let diagnosis = diagnose(&with_all_known(&plan, taken));
    assert_eq!(told(&diagnosis), [""; 0]);
    assert!(diagnosis.unseen.iter().any(|line| line.contains("look for longer than 6 s")));
}

#[test]
fn a_vip_that_was_given_up_is_asked_for_in_vain_and_is_no_fault() {
    let plan = Plan::of(3, Pass::Tables);
    for (given, age, expected) in [(false, 30.0, 1), (false, 7200.0, 0), (true, 7200.0, 1)] {
        let vip = Vip { given, ..owned(vip(&plan, vec![in_vain(&plan)]), mac(1), age) };
        assert_eq!(told(&diagnose(&with(&plan, vip))).len(), expected, "{given} {age}");
    }
}

#[test]
fn a_client_that_has_stopped_asking_has_its_answer() {
    let plan = Plan::of(3, Pass::Tables);
    let asked = IN_VAIN.map(|age| age + 4.0).to_vec();
    let client = VipClient { requests: 5, asked, ..lan_client(&plan, 200) };
    assert_eq!(told(&diagnose(&with(&plan, vip(&plan, vec![client])))), [""; 0]);
}

#[test]
fn a_vip_that_moves_is_no_conflict() {
    for (what, macs, changes) in [
        ("a failover", [mac(1), mac(2)], 1),
        ("there and back", [mac(1), mac(2)], 2),
        ("a MAC that nodes share", [mac(2), MacAddress([0, 0, 0x5e, 0, 1, 51])], 9),
        ("nobody of the cluster", [FOREIGN, MacAddress([0x3c, 0x52, 0x82, 0, 0, 10])], 9),
    ] {
        let plan = Plan::of(3, Pass::Tables);
        let diagnosis = diagnose(&with_all_known(&plan, claimed_by(&plan, &macs, changes)));
        assert_eq!(told(&diagnosis), [""; 0], "{what}");
    }
    let plan = Plan::of(3, Pass::Tables);
    let macs: Vec<MacAddress> = plan.peers().map(mac).collect();
    let mut moved = claimed_by(&plan, &macs, 9);
    moved.announcers[0].early = 4;
    assert_eq!(told(&diagnose(&with_all_known(&plan, moved))), [""; 0], "the first fell silent");
}

#[test]
fn what_found_no_room_is_told() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = with(&plan, vip(&plan, Vec::new()));
    let none = diagnose(&evidence).unseen;
    assert!(!none.iter().any(|line| line.contains("no room")), "{none:?}");
    let vips = evidence.vips.as_mut().unwrap();
    (vips.without_room, vips.unannounced) = (3, 7);
    let unseen = diagnose(&evidence).unseen;
    assert_eq!(unseen.iter().filter(|line| line.contains("no room")).count(), 2, "{unseen:?}");
}
