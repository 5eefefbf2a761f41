//! A lab as a small drawing with its address plan, for people.

use std::{fmt::Write as _, net::IpAddr};

use crate::plan::{BridgeState, Family, Node, Plan};

/// Draws a lab.
#[must_use]
pub fn draw(plan: &Plan) -> String {
    let mut text = String::new();
    let lan = &plan.lan;
    let joined = |of: &dyn Fn(Family) -> String| {
        plan.families().iter().map(|family| of(*family)).collect::<Vec<_>>().join(" ")
    };
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "lab       seed {}: {} node(s), {} (VNI {}, UDP {}), pods {}, services {}",
        plan.seed,
        plan.nodes.len(),
        plan.overlays().join(" "),
        plan.vni,
        plan.port,
        joined(&|family| plan.cluster.of(family).to_string()),
        joined(&|family| plan.services.of(family).to_string())
    );
    let _ = writeln!(
        text,
        "LAN       {}   gateway {}   client {}   VIP {} at {}",
        joined(&|family| lan.network.of(family).to_string()),
        joined(&|family| lan.gateway.of(family).to_string()),
        joined(&|family| lan.client.of(family).to_string()),
        joined(&|family| lan.vip.of(family).to_string()),
        plan.nodes[lan.vip_owner].name
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
    let ends = plan.families().iter().map(|family| {
        let (end, overlay) = (node.end(*family), plan.overlay(*family));
        format!(" {}   {overlay} {} {}", end.ip, end.flannel_ip(), end.vtep_mac)
    });
    format!("{}  {}{}", node.name, node.uplink, ends.collect::<Vec<_>>().join("  "))
}

fn pods_line(plan: &Plan, node: &Node) -> String {
    let addresses = |of: &dyn Fn(Family) -> IpAddr| -> String {
        plan.families().iter().map(|family| format!(" {}", of(*family))).collect()
    };
    let bridge_ips = addresses(&|family| node.end(family).bridge_ip());
    let bridge = match node.bridge_state {
        BridgeState::WithPods => format!("{}{bridge_ips}", node.bridge),
        BridgeState::Empty => format!("{}{bridge_ips} without pods", node.bridge),
        BridgeState::Absent => format!("no {} yet", node.bridge),
    };
    let pods = node.pods.iter().map(|pod| {
        let service = if pod.ip == plan.dns.pod_ip {
            format!(" (DNS,{})", addresses(&|family| plan.dns.cluster_ip.of(family)))
        } else {
            String::new()
        };
        format!("   {}{}{service}", pod.name, addresses(&|family| pod.ip.of(family)))
    });
    std::iter::once(bridge).chain(pods).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{plan::Stack, seed::Shape};

    #[test]
    fn the_drawing_shows_every_address_and_the_seed() {
        for stack in [Stack::V4, Stack::V6, Stack::Dual] {
            let plan = Plan::draw(42, &Shape { nodes: Some(3), stack, ..Shape::default() });
            let text = draw(&plan);
            assert!(text.contains("seed 42"), "{text}");
            for family in Stack::Dual.families() {
                let is_shown = |ip: IpAddr| text.contains(&ip.to_string());
                let pods = plan.nodes.iter().flat_map(|node| &node.pods);
                let mut ips = plan.nodes.iter().map(|node| node.ip).chain(pods.map(|pod| pod.ip));
                let spoken = plan.families().contains(family);
                assert!(ips.all(|ip| is_shown(ip.of(*family)) == spoken), "{text}");
                assert_eq!(is_shown(plan.dns.cluster_ip.of(*family)), spoken, "{text}");
            }
        }
    }
}
