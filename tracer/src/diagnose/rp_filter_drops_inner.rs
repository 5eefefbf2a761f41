//! `rp-filter-drops-inner`: packets of pods come out of the tunnel, the way back to these pods leads
//! by another device, and the kernel is set to drop such packets (`rp_filter` 1, strict).
//!
//! Where the kernel's own answer for the way back is wrong, that is the cause, and this is told in
//! its `breaks`. What is left are policy rules that look at more than the kernel was asked with: a
//! mark above all, which the filter passes over unless `src_valid_mark` is set (`fib_validate_source`
//! in net/ipv4/fib_frontend.c, Linux 5.10 to 6.18). IPv4 alone has the setting. Where the headers of
//! dropped packets are not read it is likely when as many are missed as the filter drops there.

use std::collections::BTreeSet;

use super::{
    case::Case,
    counted::{Counted, Sign, losses, out_of_tunnel},
    dropped::Dropper,
    finding::{Confidence, Finding, Severity},
    firewall::perhaps_forbidden,
    remedy,
    rp_filter_drops_outer::{STRICT, mode},
    rule::{Effect, Judged, Rank, Rule, Ruling},
    unread::{RANK, is_unread, probable_by},
};
use crate::{
    evidence::{Family, Link, RouteOutcome, StagePair},
    topology::{Peer, leaves_by, nth_address},
};

pub(super) const RULE: Rule = Rule {
    code: "rp-filter-drops-inner",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

const SIGN: Sign = Sign {
    dropper: Dropper::ReversePath,
    pair: StagePair::OverlayToPod,
    counter: |it| it.tcp_ext_reverse_path_filter,
    counter_name: "TcpExtIPReversePathFilter",
    from: out_of_tunnel,
};

fn judge(case: &Case<'_>) -> Ruling {
    let Some((_, overlay)) = case.working_overlay() else { return Ruling::default() };
    let statistics = case.evidence.statistics.as_ref();
    let is_strict = statistics.is_some_and(|it| mode(it, &overlay.name) == STRICT);
    if !is_strict || case.topology.family != Family::V4 {
        return Ruling::default();
    }
    let mut found = losses(case, &SIGN);
    // A counter is one of all devices: the way back has to be wrong as well.
    found.retain(|it| it.is_named || is_elsewhere(it.peer, overlay));
    if found.is_empty() && is_unread(case) {
        return probably(case, overlay);
    }
    Ruling::from(found.into_iter().map(|it| judged(case, overlay, it)).collect::<Vec<_>>())
}

/// Where nobody can read whose packets the filter drops on the overlay device, and as many are missed.
fn probably(case: &Case<'_>, overlay: &Link) -> Ruling {
    let mut ruling = Ruling::default();
    for hit in probable_by(case, SIGN.pair, SIGN.dropper) {
        let peer = hit.peer;
        let why = || format!("why packets of {} end after overlay_in", peer.label());
        if let Some(line) = perhaps_forbidden(case, why) {
            ruling.unseen.push(line);
            continue;
        }
        let evidence = hit.lines(case, "of");
        let judged = judged(case, overlay, Counted { peer, is_named: false, evidence });
        let finding = Finding { confidence: Confidence::Likely, ..judged.finding };
        ruling.judged.push(Judged { finding, rank: RANK, ..judged });
    }
    ruling
}

/// Whether the kernel would not answer the peer's pods by the tunnel, as far as it was asked.
fn is_elsewhere(peer: &Peer<'_>, overlay: &Link) -> bool {
    match way_back(peer) {
        Some(RouteOutcome::Route(route)) => !leaves_by(route, overlay.index),
        Some(RouteOutcome::Refused(_)) => true,
        None => false,
    }
}

/// The filter asks as for a packet of the pod that the received one is for.
fn way_back<'a>(peer: &Peer<'a>) -> Option<&'a RouteOutcome> {
    peer.answers.pods.or(peer.answers.node)
}

fn judged(case: &Case<'_>, overlay: &Link, counted: Counted<'_, '_>) -> Judged {
    let Counted { peer, evidence, .. } = counted;
    let (cidr, name) = (peer.cidr, &overlay.name);
    let is_elsewhere = is_elsewhere(peer, overlay);
    let asked = way_back(peer).map_or_else(
        || "was not asked for the way back".to_owned(),
        |answer| format!("{}, asked for the way back to {cidr}", case.describe(answer)),
    );
    let setting = format!("net.ipv4.conf: rp_filter of {name} is {STRICT}, and the kernel {asked}");
    let lost = Effect::Loss(cidr, StagePair::OverlayToPod);
    Judged {
        finding: RULE.finding(
            format!("rp_filter on {name} drops packets from pods of {}", peer.label()),
            case.about_peer(peer),
            case.in_window(),
            [vec![setting], evidence].concat(),
            repair(case, peer, name, is_elsewhere),
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([if is_elsewhere { Effect::NoRoute(cidr) } else { lost }]),
        explains: BTreeSet::from([lost]),
        as_break: format!("packets from pods of {cidr}, dropped by rp_filter on {name}"),
    }
}

fn repair(case: &Case<'_>, peer: &Peer<'_>, name: &str, is_elsewhere: bool) -> Vec<String> {
    let loose = remedy::set_sysctl(case.evidence, &format!("net/ipv4/conf/{name}/rp_filter"), 2);
    let cause = if is_elsewhere {
        format!("(2 is loose; or have the way back to {} lead by {name})", peer.cidr)
    } else {
        "(2 is loose; the right route is there, so a policy rule by mark, protocol or port sends the way \
         back elsewhere: the filter does not see the mark unless src_valid_mark of the device is 1)"
            .to_owned()
    };
    let pod = nth_address(peer.cidr, 2);
    vec![loose, cause, format!("ip rule; ip route get {pod}      (the way back)")]
}
