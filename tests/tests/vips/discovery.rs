//! VIPs of IPv6: neighbour discovery in place of ARP. The lab's devices keep no multicast back; a card
//! may, and then the nodes beside the owner see no solicitation.

use super::*;

/// The owner's kernel answers for the VIP: of IPv6 only where the address is on the device that is
/// asked (`ndisc_recv_ns`, net/ipv6/ndisc.c, 6.18).
fn own_on_uplink(lab: &Lab) {
    let plan = lab.plan();
    let node = &plan.nodes[plan.lan.vip_owner];
    let add = format!("addr add {}/128 dev {} nodad", plan.lan.vip.v6, node.uplink);
    Script::ip(&node.namespace, [add]).run().unwrap();
}

#[test]
fn a_client_that_nobody_answers_is_told_on_every_node_and_one_that_is_answered_on_none() {
    let lab = lab_of(520, Stack::Dual);
    let (plan, vip) = (lab.plan(), lab.plan().lan.vip.v6.to_string());
    let asking = Traffic::start(vec![ping_of(plan, Family::V6)]);
    for output in check_all_of(&lab, "7s", Family::V6) {
        let told = [("vip-arp-unanswered", vip.as_str())];
        assert_eq!(output.findings(), told, "{}", output.json["vips"]);
        assert_eq!(vip_of(&output)["retrying_clients"], 1);
    }
    own_on_uplink(&lab);
    let owner = plan.lan.vip_owner;
    let answers = thread::scope(|scope| {
        let checks = scope.spawn(|| check_all_of(&lab, "7s", Family::V6));
        // The client knows the owner already; it is to ask in the window, whenever that begins.
        while !checks.is_finished() {
            Script::ip(netns::CLIENT, [format!("neigh flush {vip} dev eth0")]).run().unwrap();
            silence(17);
        }
        checks.join().unwrap()
    });
    for (node, output) in answers.iter().enumerate() {
        assert_eq!(output.findings(), [], "{}", output.json["vips"]);
        let vip = vip_of(output);
        let is_owners = (vip["on_device"] == true, vip["replies"] != 0);
        assert_eq!(is_owners, (node == owner, node == owner), "n{}: {vip}", node + 1);
    }
    let asking = asking.stop().unwrap();
    assert!(asking[0].1.answered > 0, "{asking:?}");
}

#[test]
fn a_failover_names_the_new_owner_and_the_gap() {
    fails_over(&lab_of(521, Stack::V6), Family::V6);
}

#[test]
fn two_nodes_that_announce_a_vip_are_told_by_a_third() {
    two_nodes_announce(&lab_of(522, Stack::Dual), Family::V6);
}

/// An advertisement of the VIP from the LAN's client with this hop limit.
fn advertisement(plan: &Plan, hop_limit: u8) -> Sender {
    let mac = [0x02, 0x5e, 0, 0, 0x99, 1];
    let parts: [&[u8]; 9] = [
        &[0x33, 0x33, 0, 0, 0, 1],
        &mac,
        &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, hop_limit],
        &plan.lan.client.v6.octets(),
        &[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        // What a sum would show is not asked for.
        &[136, 0, 0, 0, 0x20, 0, 0, 0],
        &plan.lan.vip.v6.octets(),
        &[2, 1],
        &mac,
    ];
    Sender {
        namespace: netns::CLIENT.to_owned(),
        flow: Flow::Frames { device: "eth0".to_owned(), frame: parts.concat() },
        limits: Limits::steady(2.0),
    }
}

#[test]
fn an_advertisement_that_a_router_passed_on_is_none() {
    let lab = lab_of(523, Stack::V6);
    let gratuitous = |hop_limit: u8| {
        let sending = Traffic::start(vec![advertisement(lab.plan(), hop_limit)]);
        let answers = check_all_of(&lab, "3s", Family::V6);
        let sent = sending.stop().unwrap()[0].1;
        assert!(sent.sent > 0 && sent.errors == 0, "{sent:?}");
        answers.iter().map(|it| vip_of(it)["gratuitous"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(gratuitous(64), [0, 0, 0]);
    assert!(gratuitous(255).iter().all(|it| *it > 0));
}
