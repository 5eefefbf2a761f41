//! kube-proxy's rules in iptables mode for the DNS service (a ClusterIP) and for the lab's service
//! of type LoadBalancer (the VIP). Chain names and comments are kube-proxy's; the hashes in
//! the chain names are those of `kube-system/kube-dns:dns` and free choices for the others.

use std::net::SocketAddr;

use super::Rules;
use crate::plan::{ECHO_PORT, Family, Plan};

/// It is in the comment of a rule, where it must not be taken for a verdict.
const WEB_NAME: &str = "default/web-reject:http";
const DNS_CHAIN: &str = "KUBE-SVC-TCOU7JCQXEZGVUNU";
const DNS_ENDPOINT: &str = "KUBE-SEP-3IL52ANAN3BQ2L74";
const WEB_CHAIN: &str = "KUBE-EXT-2LABWEBVIPLABWEB";
const WEB_ENDPOINT: &str = "KUBE-SEP-4LABWEBPODLABWEB";

pub(super) fn filter() -> Rules {
    Rules::new(
        ["KUBE-FORWARD"],
        vec![
            comment("-A FORWARD", "kubernetes forwarding rules", "-j KUBE-FORWARD"),
            "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP".into(),
            comment(
                "-A KUBE-FORWARD",
                "kubernetes forwarding rules",
                "-m mark --mark 0x4000/0x4000 -j ACCEPT",
            ),
            comment(
                "-A KUBE-FORWARD",
                "kubernetes forwarding conntrack rule",
                "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            ),
        ],
    )
}

pub(super) fn nat(plan: &Plan, family: Family) -> Rules {
    let portals = "kubernetes service portals";
    let mut rules = vec![
        comment("-A PREROUTING", portals, "-j KUBE-SERVICES"),
        comment("-A OUTPUT", portals, "-j KUBE-SERVICES"),
        comment("-A POSTROUTING", "kubernetes postrouting rules", "-j KUBE-POSTROUTING"),
        "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000".into(),
        "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN".into(),
        "-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000".into(),
        comment(
            "-A KUBE-POSTROUTING",
            "kubernetes service traffic requiring SNAT",
            "-j MASQUERADE --random-fully",
        ),
    ];
    rules.extend(dns(plan, family));
    rules.extend(web(plan, family));
    Rules::new(
        [
            "KUBE-SERVICES",
            "KUBE-MARK-MASQ",
            "KUBE-POSTROUTING",
            DNS_CHAIN,
            DNS_ENDPOINT,
            WEB_CHAIN,
            WEB_ENDPOINT,
        ],
        rules,
    )
}

/// The rule that leads to the DNS service.
pub(super) fn dns_portal(plan: &Plan, family: Family) -> String {
    dns(plan, family).into_iter().next().unwrap_or_default()
}

/// The rule that leads to the service of the VIP.
pub(super) fn web_portal(plan: &Plan, family: Family) -> String {
    web(plan, family).into_iter().next().unwrap_or_default()
}

/// The chain and the rule by which what is for the VIP is dropped where its service wants local
/// endpoints and there is none, as lines of a restore.
pub(super) fn no_local_endpoints(plan: &Plan, family: Family) -> Vec<String> {
    let (vip, bits) = (plan.lan.vip.of(family), family.bits());
    let matches = format!("-d {vip}/{bits} -p tcp -m tcp --dport 80 -j DROP");
    let jump = "-m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES";
    vec![
        "*filter".to_owned(),
        ":KUBE-EXTERNAL-SERVICES - [0:0]".to_owned(),
        comment("-A INPUT", "kubernetes externally-visible service portals", jump),
        comment("-A FORWARD", "kubernetes externally-visible service portals", jump),
        comment(
            "-A KUBE-EXTERNAL-SERVICES",
            &format!("{WEB_NAME} has no local endpoints"),
            &matches,
        ),
        "COMMIT".to_owned(),
    ]
}

/// What the rule matches and does that refuses a service without endpoints.
pub(super) fn refusal(service: SocketAddr, protocol: &str) -> String {
    let (bits, error) = match service {
        SocketAddr::V4(_) => (32, "icmp-port-unreachable"),
        SocketAddr::V6(_) => (128, "icmp6-port-unreachable"),
    };
    let (address, port) = (service.ip(), service.port());
    format!(
        "-d {address}/{bits} -p {protocol} -m conntrack --ctstate NEW -m {protocol} --dport {port} \
         -m comment --comment \"default/empty:port has no endpoints\" -j REJECT --reject-with {error}"
    )
}

fn dns(plan: &Plan, family: Family) -> Vec<String> {
    let (service, cluster) = (plan.dns.cluster_ip.of(family), plan.cluster.of(family));
    let (name, bits) = ("kube-system/kube-dns:dns", family.bits());
    let matches = format!("-d {service}/{bits} -p udp -m udp --dport 53");
    let mut rules = vec![
        comment(
            "-A KUBE-SERVICES",
            &format!("{name} cluster IP"),
            &format!("{matches} -j {DNS_CHAIN}"),
        ),
        comment(
            &format!("-A {DNS_CHAIN} ! -s {cluster}"),
            &format!("{name} cluster IP"),
            &format!("{matches} -j KUBE-MARK-MASQ"),
        ),
        comment(&format!("-A {DNS_CHAIN}"), name, &format!("-j {DNS_ENDPOINT}")),
    ];
    if !plan.bridge_netfilter {
        // The answer of a pod to another pod of its node would pass by the bridge, unseen by
        // conntrack and with the wrong source.
        let local = plan.nodes[plan.dns.node].subnet.of(family);
        let head = format!("-A {DNS_CHAIN} -s {local}");
        // Before the jump to the endpoint, which ends the chain.
        rules.insert(1, comment(&head, &format!("{name} cluster IP"), "-j KUBE-MARK-MASQ"));
    }
    rules.extend(endpoint(
        DNS_ENDPOINT,
        name,
        SocketAddr::new(plan.dns.pod_ip.of(family), 53),
        "udp",
    ));
    rules
}

/// The VIP's port 80 goes to the first pod there is.
fn web(plan: &Plan, family: Family) -> Vec<String> {
    let Some(pod) = plan.nodes.iter().find_map(|node| node.first_pod()) else {
        return Vec::new();
    };
    let (vip, bits, name) = (plan.lan.vip.of(family), family.bits(), WEB_NAME);
    let mut rules = vec![
        comment(
            "-A KUBE-SERVICES",
            &format!("{name} loadbalancer IP"),
            &format!("-d {vip}/{bits} -p tcp -m tcp --dport 80 -j {WEB_CHAIN}"),
        ),
        comment(
            &format!("-A {WEB_CHAIN}"),
            &format!("masquerade traffic for {name} external destinations"),
            "-j KUBE-MARK-MASQ",
        ),
        format!("-A {WEB_CHAIN} -j {WEB_ENDPOINT}"),
    ];
    rules.extend(endpoint(WEB_ENDPOINT, name, pod.at(family, ECHO_PORT), "tcp"));
    rules
}

fn endpoint(chain: &str, name: &str, to: SocketAddr, protocol: &str) -> [String; 2] {
    let target = format!("-p {protocol} -m {protocol} -j DNAT --to-destination {to}");
    let (ip, bits) = (to.ip(), Family::from(to.ip()).bits());
    [
        comment(&format!("-A {chain} -s {ip}/{bits}"), name, "-j KUBE-MARK-MASQ"),
        comment(&format!("-A {chain}"), name, &target),
    ]
}

fn comment(head: &str, text: &str, tail: &str) -> String {
    format!(r#"{head} -m comment --comment "{text}" {tail}"#)
}
