//! VIPs over several nodes: who says that nobody answers for one has not seen the replies of another,
//! which go to the client alone.

use super::{across::Told, member::Member};
use crate::evidence::{Evidence, Vip, VipAnnouncer};

/// What rests on replies that a node cannot see.
const UNANSWERED: &str = "vip-arp-unanswered";

/// Takes out that nobody answers for a VIP, where another node did answer a client that asks again and
/// again; and says so.
pub(super) fn take_out_answered(
    told: &mut Vec<Told>,
    evidence: &[Evidence],
    members: &[Member],
) -> Vec<String> {
    let mut unseen = Vec::new();
    told.retain(|told| {
        let finding = &told.cause.judged.finding;
        let vip = finding.subject.address.filter(|_| finding.code == UNANSWERED);
        let Some(vip) = vip.and_then(|address| vip_of(&evidence[told.node], address)) else {
            return true;
        };
        let mut others = (0..members.len()).filter(|it| *it != told.node);
        let answers = |other: &usize| {
            members[*other].is_near(&members[told.node])
                && vip_of(&evidence[*other], vip.address).is_some_and(|it| answers(it, vip))
        };
        let Some(other) = others.find(answers) else { return true };
        unseen.push(format!(
            "whether replies for the VIP {} reach who asks for it: seen from {} a client asks again \
             and again, and {} answers it",
            vip.address, members[told.node].label, members[other].label
        ));
        false
    });
    unseen
}

fn vip_of(evidence: &Evidence, address: std::net::IpAddr) -> Option<&Vip> {
    evidence.vips.as_ref()?.entries.iter().find(|vip| vip.address == address)
}

/// Whether a node answers, and hears a client that another node hears ask again and again.
fn answers(here: &Vip, there: &Vip) -> bool {
    let is_reply = |it: &VipAnnouncer| it.replies > 0 && it.from_here > 0;
    let mut retrying = there.clients.iter().filter(|client| client.retries(there));
    here.announcers.iter().any(is_reply)
        && retrying.any(|it| here.clients.iter().any(|client| client.address == it.address))
}
