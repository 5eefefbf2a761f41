//! A lab as a small drawing with its address plan, for people.

use std::fmt::Write as _;

use crate::plan::{BridgeState, Node, Plan};

/// Draws a lab.
#[must_use]
pub fn draw(plan: &Plan) -> String {
    let mut text = String::new();
    let lan = &plan.lan;
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "lab       seed {}: {} node(s), {} (VNI {}, UDP {}), pods {}, services {}",
        plan.seed,
        plan.nodes.len(),
        plan.overlay(),
        plan.vni,
        plan.port,
        plan.cluster,
        plan.services
    );
    let _ = writeln!(
        text,
        "LAN       {}   gateway {}   client {}   VIP {} at {}",
        lan.network, lan.gateway, lan.client, lan.vip, plan.nodes[lan.vip_owner].name
    );
    for (index, node) in plan.nodes.iter().enumerate() {
        let last = index + 1 == plan.nodes.len();
        let _ = writeln!(text, "  {}─ {}", if last { '└' } else { '├' }, node_line(plan, node));
        let stem = if last { ' ' } else { '│' };
        let _ = writeln!(text, "  {stem}     {}", pods_line(plan, node));
    }
    text
}

fn node_line(plan: &Plan, node: &Node) -> String {
    format!(
        "{}  {} {}   {} {} {}",
        node.name,
        node.uplink,
        node.ip,
        plan.overlay(),
        node.flannel_ip(),
        node.vtep_mac
    )
}

fn pods_line(plan: &Plan, node: &Node) -> String {
    let bridge = match node.bridge_state {
        BridgeState::WithPods => format!("{} {}", node.bridge, node.bridge_ip()),
        BridgeState::Empty => format!("{} {} without pods", node.bridge, node.bridge_ip()),
        BridgeState::Absent => format!("no {} yet", node.bridge),
    };
    let pods = node.pods.iter().map(|pod| {
        let service = if pod.ip == plan.dns.pod_ip {
            format!(" (DNS, {})", plan.dns.cluster_ip)
        } else {
            String::new()
        };
        format!("   {} {}{service}", pod.name, pod.ip)
    });
    std::iter::once(bridge).chain(pods).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Shape;

    #[test]
    fn the_drawing_shows_every_address_and_the_seed() {
        let plan = Plan::draw(42, &Shape { nodes: Some(3), ..Shape::default() });
        let text = draw(&plan);
        assert!(text.contains("seed 42"), "{text}");
        for node in &plan.nodes {
            assert!(text.contains(&node.ip.to_string()), "{text}");
            assert!(node.pods.iter().all(|pod| text.contains(&pod.ip.to_string())), "{text}");
        }
        assert!(text.contains(&plan.dns.cluster_ip.to_string()), "{text}");
    }
}
