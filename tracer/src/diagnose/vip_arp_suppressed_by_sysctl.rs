//! `vip-arp-suppressed-by-sysctl`: a VIP is an address of this node, a setting of the kernel keeps it
//! back where it is asked for, and no program answers instead.
//!
//! By itself that is how IPVS and direct routing are set up: another answers. So somebody must ask for
//! it in vain.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
    vip,
};
use crate::evidence::{Address, Tables, Vip, VipClient, VipDevice};

pub(super) const RULE: Rule = Rule {
    code: "vip-arp-suppressed-by-sysctl",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Entry,
    judge,
};

/// Values of `arp_ignore` (Documentation/networking/ip-sysctl.rst, Linux 6.18): only addresses of the
/// device that is asked are told; the same, and to the own subnet alone; none is.
const OF_DEVICE: u32 = 1;
const OF_SUBNET: u32 = 2;
const NONE: u32 = 8;

/// An address that is kept back, and where.
struct Hidden<'a> {
    address: &'a Address,
    device: &'a VipDevice,
    ignore: u32,
}

fn judge(case: &Case<'_>) -> Ruling {
    let judged = vip::of_case(case).filter_map(|(vip, tables)| {
        let hidden = hidden(case, vip, tables)?;
        let retrying = vip::retrying(case, vip, tables);
        (!retrying.is_empty()).then(|| judged(case, vip, &hidden, &retrying))
    });
    Ruling::from(judged.collect::<Vec<_>>())
}

/// Where the kernel keeps a VIP of this node back and nothing answers instead. IPv6 has no such
/// setting.
fn hidden<'a>(case: &Case<'a>, vip: &Vip, tables: &'a Tables) -> Option<Hidden<'a>> {
    let address = tables.addresses.iter().find(|own| own.address == vip.address)?;
    let devices = case.evidence.vips.iter().flat_map(|vips| &vips.devices);
    let mut of_vip = devices.filter(|it| vip.interface.as_ref() == Some(&it.interface));
    let device = of_vip.next().filter(|it| it.responders == Some(0))?;
    let ignore = device.arp_ignore?;
    let is_elsewhere = address.ifindex != device.ifindex;
    let is_kept_back = ignore == NONE || [OF_DEVICE, OF_SUBNET].contains(&ignore) && is_elsewhere;
    (vip.address.is_ipv4() && is_kept_back).then_some(Hidden { address, device, ignore })
}

fn judged(case: &Case<'_>, vip: &Vip, hidden: &Hidden<'_>, retrying: &[&VipClient]) -> Judged {
    let Hidden { address: own, device, ignore } = hidden;
    let (address, name) = (vip.address, &device.interface);
    let node = &case.evidence.node.name;
    let holder = case.name_of(Some(own.ifindex));
    let mut evidence = vec![
        format!("{address}/{} is an address of {holder}", own.prefix_length),
        format!(
            "net.ipv4.conf.{name}.arp_ignore is {ignore} (or that of conf.all): the kernel does not \
             answer for it on {name}"
        ),
        format!("no program has a packet socket for ARP on {name}, as MetalLB's speaker would"),
    ];
    evidence.extend(vip::asked_in_vain(vip, retrying));
    Judged {
        finding: RULE.finding(
            format!(
                "The VIP {address} is on {holder} of {node}, but arp_ignore={ignore} hides it and \
                 nobody answers ARP for it"
            ),
            vip::about(vip),
            case.before_start(),
            evidence,
            remedy(vip, name),
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: BTreeSet::from([Effect::Unanswered(address)]),
        as_break: format!("vip {address}"),
    }
}

fn remedy(vip: &Vip, device: &str) -> Vec<String> {
    let address = vip.address;
    vec![
        "kubectl -n metallb-system get pods -l component=speaker -o wide      (with IPVS and \
         strictARP a speaker has to answer, on this node or on another)"
            .to_owned(),
        "kubectl -n metallb-system get l2advertisements,ipaddresspools      (an L2Advertisement for \
         its pool)"
            .to_owned(),
        format!("ip address show to {address}      (who put it there? kube-proxy has kube-ipvs0)"),
        format!(
            "sysctl -w net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.{device}.arp_ignore=0      (only \
             if no other node has the address: else all of them answer)"
        ),
    ]
}
