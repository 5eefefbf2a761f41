//! kube-proxy's rules in iptables mode for the DNS service (a ClusterIP) and for the lab's service
//! of type LoadBalancer (the VIP). Chain names and comments are kube-proxy's; the hashes in
//! the chain names are those of `kube-system/kube-dns:dns` and free choices for the others.

use std::net::Ipv4Addr;

use super::Rules;
use crate::plan::{ECHO_PORT, Plan};

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

pub(super) fn nat(plan: &Plan) -> Rules {
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
    rules.extend(dns(plan));
    rules.extend(web(plan));
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

fn dns(plan: &Plan) -> Vec<String> {
    let (service, cluster) = (plan.dns.cluster_ip, plan.cluster);
    let name = "kube-system/kube-dns:dns";
    let matches = format!("-d {service}/32 -p udp -m udp --dport 53");
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
    rules.extend(endpoint(DNS_ENDPOINT, name, plan.dns.pod_ip, "udp", 53));
    rules
}

/// The VIP's port 80 goes to the first pod there is.
fn web(plan: &Plan) -> Vec<String> {
    let Some(pod) = plan.nodes.iter().find_map(|node| node.first_pod()) else {
        return Vec::new();
    };
    let (vip, name) = (plan.lan.vip, "default/web:http");
    let mut rules = vec![
        comment(
            "-A KUBE-SERVICES",
            &format!("{name} loadbalancer IP"),
            &format!("-d {vip}/32 -p tcp -m tcp --dport 80 -j {WEB_CHAIN}"),
        ),
        comment(
            &format!("-A {WEB_CHAIN}"),
            &format!("masquerade traffic for {name} external destinations"),
            "-j KUBE-MARK-MASQ",
        ),
        format!("-A {WEB_CHAIN} -j {WEB_ENDPOINT}"),
    ];
    rules.extend(endpoint(WEB_ENDPOINT, name, pod.ip, "tcp", ECHO_PORT));
    rules
}

fn endpoint(chain: &str, name: &str, ip: Ipv4Addr, protocol: &str, port: u16) -> [String; 2] {
    let target = format!("-p {protocol} -m {protocol} -j DNAT --to-destination {ip}:{port}");
    [
        comment(&format!("-A {chain} -s {ip}/32"), name, "-j KUBE-MARK-MASQ"),
        comment(&format!("-A {chain}"), name, &target),
    ]
}

fn comment(head: &str, text: &str, tail: &str) -> String {
    format!(r#"{head} -m comment --comment "{text}" {tail}"#)
}
