//! kube-proxy's rules in nftables mode for the same two services, as Kubernetes 1.33 writes them
//! (pkg/proxy/nftables/proxier.go): an address, a protocol and a port lead by a map to the chain of a
//! service or to its refusal. Left out is what the lab has not: node ports, source ranges, the DNS
//! service over TCP, and the chains for them.

use std::net::{IpAddr, SocketAddr};

use crate::plan::{ECHO_PORT, Family, Plan};

const DNS: &str = "service-NWBZK7IH-kube-system/kube-dns/udp/dns";
const DNS_ENDPOINT: &str = "endpoint-YHGNLCVC-kube-system/kube-dns/udp/dns__pod/53";
const WEB: &str = "service-2LABWEBS-default/web/tcp/http";
const WEB_EXTERNAL: &str = "external-2LABWEBS-default/web/tcp/http";
/// It is in the comment of a verdict, where it must not be taken for one.
const WEB_NAME: &str = "default/web-reject:http";
const WEB_ENDPOINT: &str = "endpoint-4LABWEBP-default/web/tcp/http__pod/http";

/// The whole table of a family.
pub(super) fn table(plan: &Plan, family: Family) -> Vec<String> {
    let ip = family.word();
    let rules = rules(plan, family).into_iter();
    let rules = rules.map(|(chain, rule)| format!("add rule {ip} kube-proxy {chain} {rule}"));
    let elements = [cluster_ip(plan, family), to_dns(plan, family), to_web(plan, family)];
    std::iter::once(format!("add table {ip} kube-proxy"))
        .chain(sets(ip))
        .chain(chains(ip))
        .chain(rules)
        .chain(elements.map(|it| format!("add element {ip} kube-proxy {it}")))
        .collect()
}

/// Adds, or deletes, what leads to the DNS service; its address is then one that nobody has.
pub(super) fn dns(verb: &str, plan: &Plan, family: Family) -> Vec<String> {
    let elements = [cluster_ip(plan, family), to_dns(plan, family)];
    elements.map(|it| format!("{verb} element {} kube-proxy {it}", family.word())).into()
}

/// Deletes what leads to the service of the VIP.
pub(super) fn without_web(plan: &Plan, family: Family) -> String {
    format!("delete element {} kube-proxy {}", family.word(), to_web(plan, family))
}

/// Has what is for the VIP dropped, whose service wants local endpoints where there is none: its chain
/// is there and leads nowhere.
pub(super) fn no_local_endpoints(plan: &Plan, family: Family) -> Vec<String> {
    let (ip, vip) = (family.word(), plan.lan.vip.of(family));
    let dropped = format!("{vip} . tcp . 80 comment \"{WEB_NAME}\" : drop");
    vec![
        format!("flush chain {ip} kube-proxy {WEB_EXTERNAL}"),
        format!("add element {ip} kube-proxy no-endpoint-services {{ {dropped} }}"),
    ]
}

/// Adds, or deletes, the refusal of a service without endpoints.
pub(super) fn refusal(verb: &str, service: SocketAddr, protocol: &str) -> Vec<String> {
    let ip = Family::from(service.ip()).word();
    let (address, port) = (service.ip(), service.port());
    // It is the address of a service now.
    let elements = [
        format!("cluster-ips {{ {address} }}"),
        format!(
            "no-endpoint-services {{ {address} . {protocol} . {port} comment \"default/empty:port\" : goto reject-chain }}"
        ),
    ];
    elements.map(|it| format!("{verb} element {ip} kube-proxy {it}")).into()
}

fn cluster_ip(plan: &Plan, family: Family) -> String {
    format!("cluster-ips {{ {} }}", plan.dns.cluster_ip.of(family))
}

fn to_dns(plan: &Plan, family: Family) -> String {
    format!("service-ips {{ {} . udp . 53 : goto {DNS} }}", plan.dns.cluster_ip.of(family))
}

fn to_web(plan: &Plan, family: Family) -> String {
    format!("service-ips {{ {} . tcp . 80 : goto {WEB_EXTERNAL} }}", plan.lan.vip.of(family))
}

fn sets(ip: &str) -> Vec<String> {
    let address = if ip == "ip" { "ipv4_addr" } else { "ipv6_addr" };
    let map = |name: &str| {
        format!(
            "add map {ip} kube-proxy {name} {{ type {address} . inet_proto . inet_service : verdict; }}"
        )
    };
    vec![
        format!("add set {ip} kube-proxy cluster-ips {{ type {address}; }}"),
        map("service-ips"),
        map("no-endpoint-services"),
    ]
}

fn chains(ip: &str) -> Vec<String> {
    let hook = |chain: &str, hook: &str| format!("{chain} {{ type {hook}; }}");
    let hooks = [
        hook("nat-prerouting", "nat hook prerouting priority -100"),
        hook("nat-output", "nat hook output priority -100"),
        hook("nat-postrouting", "nat hook postrouting priority 100"),
        hook("filter-forward", "filter hook forward priority 0"),
        hook("filter-input", "filter hook input priority 0"),
        hook("filter-output", "filter hook output priority 0"),
    ];
    let plain = [
        "services",
        "service-endpoints-check",
        "cluster-ips-check",
        "reject-chain",
        "mark-for-masquerade",
        "masquerading",
        DNS,
        DNS_ENDPOINT,
        WEB,
        WEB_EXTERNAL,
        WEB_ENDPOINT,
    ];
    let all = hooks.into_iter().chain(plain.map(str::to_owned));
    all.map(|chain| format!("add chain {ip} kube-proxy {chain}")).collect()
}

/// Chains, each with a rule.
fn rules(plan: &Plan, family: Family) -> Vec<(&'static str, String)> {
    let ip = family.word();
    let by = |map: &str| format!("{ip} daddr . meta l4proto . th dport vmap @{map}");
    let fixed = [
        ("nat-prerouting", "jump services"),
        ("nat-output", "jump services"),
        ("nat-postrouting", "jump masquerading"),
        ("filter-forward", "ct state new jump service-endpoints-check"),
        ("filter-forward", "ct state new jump cluster-ips-check"),
        ("filter-input", "ct state new jump service-endpoints-check"),
        ("filter-output", "ct state new jump service-endpoints-check"),
        ("filter-output", "ct state new jump cluster-ips-check"),
        ("reject-chain", "reject"),
        ("mark-for-masquerade", "mark set mark or 0x4000"),
        ("masquerading", "mark and 0x4000 == 0 return"),
        ("masquerading", "mark set mark xor 0x4000"),
        ("masquerading", "masquerade fully-random"),
        (WEB_EXTERNAL, "jump mark-for-masquerade"),
    ];
    let services = plan.services.of(family);
    let mut rules: Vec<_> = fixed.map(|(chain, rule)| (chain, rule.to_owned())).into();
    rules.extend([
        ("services", by("service-ips")),
        ("service-endpoints-check", by("no-endpoint-services")),
        // To other ports of services, and to what is no service's.
        ("cluster-ips-check", format!("{ip} daddr @cluster-ips reject")),
        ("cluster-ips-check", format!("{ip} daddr {{ {services} }} drop")),
        (WEB_EXTERNAL, format!("goto {WEB}")),
    ]);
    rules.extend(of_services(plan, family));
    rules
}

/// What the chains of the services and of their endpoints say.
fn of_services(plan: &Plan, family: Family) -> Vec<(&'static str, String)> {
    let (ip, cluster) = (family.word(), plan.cluster.of(family));
    let masquerade = "jump mark-for-masquerade";
    let service = plan.dns.cluster_ip.of(family);
    let mut rules =
        vec![(DNS, format!("{ip} daddr {service} {ip} saddr != {cluster} {masquerade}"))];
    if !plan.bridge_netfilter {
        // As for iptables: a local answer needs its source changed.
        let local = plan.nodes[plan.dns.node].subnet.of(family);
        rules.push((DNS, format!("{ip} saddr {local} {masquerade}")));
    }
    let mut leads =
        |chain: &'static str, endpoint: &'static str, to: SocketAddr, protocol: &str| {
            let address: IpAddr = to.ip();
            rules.push((chain, format!("numgen random mod 1 vmap {{ 0 : goto {endpoint} }}")));
            rules.push((endpoint, format!("{ip} saddr {address} {masquerade}")));
            rules.push((endpoint, format!("meta l4proto {protocol} dnat to {to}")));
        };
    leads(DNS, DNS_ENDPOINT, SocketAddr::new(plan.dns.pod_ip.of(family), 53), "udp");
    if let Some(pod) = plan.nodes.iter().find_map(|node| node.first_pod()) {
        leads(WEB, WEB_ENDPOINT, pod.at(family, ECHO_PORT), "tcp");
    }
    rules
}
