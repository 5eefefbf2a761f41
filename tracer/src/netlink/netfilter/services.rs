//! Whether kube-proxy has rules for the address of a load balancer: in its chains of iptables
//! (nftables' or legacy) or in its table of nftables. Nothing else of a rule is understood.

use std::{collections::BTreeMap, net::IpAddr};

use super::{legacy, nft};
use crate::evidence::VipRules;

/// kube-proxy's chains of iptables in which a rule names the address of a service: for those that have
/// endpoints, and for those that have none here.
const CHAINS: [&str; 2] = [super::PROXY_CHAIN, WITHOUT_ENDPOINTS_CHAIN];
const WITHOUT_ENDPOINTS_CHAIN: &str = "KUBE-EXTERNAL-SERVICES";
/// The same in its table of nftables: maps from an address, a protocol and a port to a verdict. Chains
/// of services name their addresses too, but nothing leads to these without an entry here.
const MAPS: [&str; 2] = ["service-ips", WITHOUT_ENDPOINTS_MAP];
const WITHOUT_ENDPOINTS_MAP: &str = "no-endpoint-services";
/// What refuses with an ICMP error: a target of iptables, an expression of nftables, and kube-proxy's
/// chain of it. All are strings with their closing zero.
const REFUSING: [&[u8]; 3] = [b"REJECT\0", b"reject\0", b"reject-chain\0"];

/// What kube-proxy has for these addresses in this thread's network namespace. Needs the capability
/// NET_ADMIN.
///
/// # Errors
/// When nftables or the legacy tables cannot be read.
pub fn service_rules(addresses: &[IpAddr]) -> anyhow::Result<BTreeMap<IpAddr, VipRules>> {
    let none = addresses.iter().map(|address| (*address, VipRules::default()));
    let mut found: BTreeMap<IpAddr, VipRules> = none.collect();
    if found.is_empty() {
        return Ok(found);
    }
    nft::each_rule(&CHAINS, super::PROXY_TABLE, &MAPS, |place, rule| {
        take(&mut found, place, rule, |address| names(rule, address));
    })?;
    legacy::each_rule(&CHAINS, |chain, entry| {
        take(&mut found, chain, entry.bytes, |address| entry.is_to(address));
    })?;
    Ok(found)
}

/// Takes over one rule of a chain or one entry of a map.
fn take(
    found: &mut BTreeMap<IpAddr, VipRules>,
    place: &str,
    rule: &[u8],
    is_its: impl Fn(IpAddr) -> bool,
) {
    for (address, rules) in found.iter_mut().filter(|(address, _)| is_its(**address)) {
        tracing::debug!("a rule in {place} names {address}");
        rules.named = true;
        let is_without = [WITHOUT_ENDPOINTS_CHAIN, WITHOUT_ENDPOINTS_MAP].contains(&place);
        rules.dropped |= is_without && !refuses(rule);
    }
}

/// Whether one of these is a whole string of the rule. A comment, in which the service is named, may
/// have it as a part.
fn refuses(rule: &[u8]) -> bool {
    let is_inside = |at: usize| at > 0 && rule[at - 1].is_ascii_graphic();
    (0..rule.len()).any(|at| {
        let begins = |word: &&[u8]| rule[at..].starts_with(word);
        !is_inside(at) && REFUSING.iter().any(begins)
    })
}

/// Whether an expression of a rule, or a key, begins with an address: the kernel hands it out as an
/// attribute NFTA_DATA_VALUE, on a boundary of four bytes.
fn names(rule: &[u8], address: IpAddr) -> bool {
    const VALUE: [u8; 2] = 1_u16.to_ne_bytes();
    let octets = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    rule.chunks(4).zip((4..).step_by(4)).any(|(header, value)| {
        header.get(2..) == Some(&VALUE[..])
            && rule.get(value..).is_some_and(|rest| rest.starts_with(&octets))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::attributes::testing::attribute;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// A comparison with `value`, nested as in a rule.
    fn compares(value: &[u8], with: &[u8]) -> Vec<u8> {
        attribute(4, &[attribute(2, &attribute(1, value)), attribute(7, with)].concat())
    }

    fn rules_of(place: &str, rule: &[u8]) -> VipRules {
        let vip = address("192.0.2.7");
        let mut found = BTreeMap::from([(vip, VipRules::default())]);
        take(&mut found, place, rule, |address| names(rule, address));
        found[&vip]
    }

    #[test]
    fn a_rule_is_an_addresss_when_it_compares_with_it() {
        let six = address("2001:db8::7");
        assert!(names(&compares(&[192, 0, 2, 7], b"-j"), address("192.0.2.7")));
        assert!(names(
            &compares(&[192, 0, 2, 7, 6, 0, 0, 0, 0, 80, 0, 0], b""),
            address("192.0.2.7")
        ));
        assert!(!names(&compares(&[192, 0, 2, 8], b"-j"), address("192.0.2.7")));
        assert!(!names(&attribute(4, &[192, 0, 2, 7]), address("192.0.2.7")), "no value");
        let IpAddr::V6(octets) = six else { panic!("no IPv6") };
        assert!(names(&compares(&octets.octets(), b""), six));
        let whole = compares(&[192, 0, 2, 7], b"");
        for length in 0..whole.len() {
            names(&whole[..length], address("192.0.2.7"));
        }
    }

    #[test]
    fn a_rule_without_local_endpoints_drops_unless_it_refuses() {
        let rule = |with| compares(&[192, 0, 2, 7], with);
        let [named, dropped] = [false, true].map(|dropped| VipRules { named: true, dropped });
        assert_eq!(rules_of("KUBE-SERVICES", &rule(b"KUBE-EXT-2LABWEBVIPLABWEB")), named);
        assert_eq!(rules_of("KUBE-EXTERNAL-SERVICES", &rule(b"no local endpoints")), dropped);
        assert_eq!(rules_of("KUBE-EXTERNAL-SERVICES", &rule(b"REJECT\0")), named);
        assert_eq!(rules_of("no-endpoint-services", &rule(b"drop")), dropped);
        assert_eq!(rules_of("no-endpoint-services", &rule(b"reject-chain\0")), named);
        for service in [&b"reject-all/web has no local endpoints\0"[..], b"shop/reject\0"] {
            assert_eq!(rules_of("KUBE-EXTERNAL-SERVICES", &rule(service)), dropped);
        }
        let other = compares(&[192, 0, 2, 8], b"no local endpoints");
        assert_eq!(rules_of("KUBE-EXTERNAL-SERVICES", &other), VipRules::default());
    }
}
