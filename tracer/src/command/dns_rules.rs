//! Whether kube-proxy has rules for the DNS servers to which queries are dropped.

use tracer::{evidence::Evidence, observe::dropped_servers};

use super::proxy_rules::ProxyRules;

/// Asks, and fills in the answers; why there is none is told as unseen.
pub(super) fn fill(evidence: &mut Evidence, rules: &mut ProxyRules) {
    let dropped = dropped_servers(evidence);
    if dropped.is_empty() {
        return;
    }
    let known = rules.of(&dropped, false);
    let servers = evidence.dns.iter_mut().flat_map(|dns| &mut dns.servers);
    for server in servers {
        let its = server.server.and_then(|address| known.get(&address));
        server.has_service_rules = its.map(|rules| rules.named);
    }
    let why = rules.unseen().map(|why| format!("kube-proxy's rules for DNS: {why}"));
    evidence.unseen.extend(why);
}
