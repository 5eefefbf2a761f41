//! A client that asks in vain as one node hears it, and another node that answers it.

use super::{
    super::vips::{in_vain, lan_client, owned, vip, vip_of, with},
    judge, node, plan, told,
};
use crate::{
    diagnose::testing::{Pass, Plan},
    evidence::{Evidence, MacAddress, Vip},
};

const OWN: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

fn with_vip(plan: &Plan, vip: Vip) -> Evidence {
    Evidence { vips: with(plan, vip).vips, ..node(plan) }
}

/// What the second node says of the VIP, so many replies among it, while the first hears a client ask
/// in vain.
fn pair(client: u8, replies: u64) -> [Evidence; 2] {
    let plans = [plan(0, 2, Pass::PeersFile), plan(1, 2, Pass::PeersFile)];
    let felt = vip(&plans[0], vec![in_vain(&plans[0])]);
    let mut answered = owned(vip(&plans[1], vec![lan_client(&plans[1], client)]), OWN, 0.1);
    for announcer in &mut answered.announcers {
        (announcer.replies, announcer.from_here) = (replies, replies);
    }
    [with_vip(&plans[0], felt), with_vip(&plans[1], answered)]
}

#[test]
fn replies_of_the_owner_refute_that_nobody_answers() {
    let joined = judge(&pair(200, 4));
    assert_eq!(told(&joined), [""; 0]);
    let vip = vip_of(&plan(0, 2, Pass::PeersFile)).to_string();
    let is_told = |line: &&String| line.contains("whether replies") && line.contains(&vip);
    assert_eq!(joined.unseen.iter().filter(is_told).count(), 1, "{:?}", joined.unseen);
}

#[test]
fn an_owner_that_sent_none_or_heard_another_client_refutes_nothing() {
    for (client, replies) in [(200, 0), (201, 4)] {
        let joined = judge(&pair(client, replies));
        let vip = vip_of(&plan(0, 2, Pass::PeersFile));
        assert_eq!(told(&joined), [format!("0: vip-arp-unanswered {vip}")], "{client} {replies}");
    }
}
