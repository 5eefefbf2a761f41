//! `vip-answered-but-no-service-rules`: this node claims a VIP and has no rule of kube-proxy for it.
//!
//! Then it forwards what comes for it, back to the network, and asks there for the VIP itself. That
//! alone is no proof: a packet for another port, or a ping, is forwarded too where the rules are.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    rule::{Judged, Rank, Rule, Ruling},
    vip,
};
use crate::evidence::{Platform, Tables, Vip};

pub(super) const RULE: Rule = Rule {
    code: "vip-answered-but-no-service-rules",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

/// The kernel asks three times before it gives up.
const ENOUGH: u64 = 3;

fn judge(case: &Case<'_>) -> Ruling {
    let mut ruling = Ruling::default();
    let sent_back = vip::of_case(case).filter(|(vip, tables)| is_sent_back(case, vip, tables));
    for (vip, _) in sent_back {
        let address = vip.address;
        match (vip.rules, foreign(case, vip)) {
            (Some(rules), _) if rules.named => {}
            (Some(_), None) => ruling.judged.push(judged(case, vip)),
            (Some(_), Some(program)) => ruling.unseen.push(format!(
                "whether this node serves the VIP {address}: no rule of kube-proxy names it, but \
                 {program} may do its work"
            )),
            (None, _) => ruling.unseen.push(format!(
                "whether this node, which claims the VIP {address} and asks for it itself, has \
                 kube-proxy's rules for it"
            )),
        }
    }
    ruling
}

/// Whether this node claims a VIP that is none of its addresses, and asks for it itself.
fn is_sent_back(case: &Case<'_>, vip: &Vip, tables: &Tables) -> bool {
    !tables.is_local(vip.address)
        && vip.own_requests >= ENOUGH
        && vip::is_claimed_here(case, vip, tables)
}

/// A program of others that gets packets for a VIP before the kernel does.
fn foreign<'a>(case: &Case<'a>, vip: &Vip) -> Option<&'a str> {
    let hooks = case.evidence.vips.iter().flat_map(|vips| &vips.hooks);
    let mut its = hooks.filter(|hook| vip.interface.as_ref() == Some(&hook.interface));
    its.find_map(|hook| hook.foreign.first()).map(String::as_str)
}

fn judged(case: &Case<'_>, vip: &Vip) -> Judged {
    let (address, node) = (vip.address, &case.evidence.node.name);
    let mut evidence = vip::claimed(vip);
    evidence.push(format!(
        "this node asked for {address} by {} itself, {} times: what comes for it goes back to the \
         network",
        vip::protocol(vip),
        vip.own_requests
    ));
    evidence.push(match case.evidence.intent.service_netfilter.first() {
        Some(chain) => format!("kube-proxy's rules are here ({chain}), and none names {address}"),
        None => {
            "kube-proxy has neither a chain of iptables nor a table of nftables here".to_owned()
        }
    });
    Judged {
        finding: RULE.finding(
            format!("{node} announces the VIP {address} but has no kube-proxy rules for it"),
            vip::about(vip),
            case.in_window(),
            evidence,
            remedy(case, vip),
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: BTreeSet::new(),
        as_break: format!("vip {address}"),
    }
}

fn remedy(case: &Case<'_>, vip: &Vip) -> Vec<String> {
    let (address, node) = (vip.address, &case.evidence.node.name);
    let restart = match case.evidence.node.platform {
        Platform::K3sServer => "systemctl restart k3s      (kube-proxy is part of it)".to_owned(),
        Platform::K3sAgent => {
            "systemctl restart k3s-agent      (kube-proxy is part of it)".to_owned()
        }
        _ => format!(
            "kubectl -n kube-system get pods -l k8s-app=kube-proxy -o wide --field-selector \
             spec.nodeName={node}      (it has to run here; its log says what it lacks)"
        ),
    };
    vec![
        restart,
        format!("kubectl get svc -A | grep -w {address}      (is it a Service's still?)"),
        format!("iptables-save -t nat | grep -w {address}; nft list ruleset | grep -w {address}"),
    ]
}
