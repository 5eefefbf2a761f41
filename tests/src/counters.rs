//! nftables counters beside the tracer's hooks of a node, to compare its figures with. They count
//! what the packet filter sees: a GSO packet once, whatever its number of segments.

use std::{collections::BTreeMap, process::Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    fault::Injection,
    netns,
    plan::{Node, Plan},
    script::{Script, Tool},
};

const TABLE: &str = "fltr_count";
/// Bytes from the outer UDP header to the inner UDP or TCP destination port, but for the inner IP
/// header: UDP 8, VXLAN 8, Ethernet 14, source port 2.
const TO_INNER_PORT: usize = 8 + 8 + 14 + 2;

/// The transport protocol of the counted packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// UDP.
    Udp,
    /// TCP; only the direction towards the port is counted.
    Tcp,
}

/// Counters on one node for the packets of one inner destination port. Removed on drop.
#[derive(Debug)]
pub struct Counters {
    namespace: String,
    _guard: Injection,
}

/// Packets by stage name: `pod_out`, `overlay_out`, `wire_out`, `wire_in`, `overlay_in`, `pod_in`.
pub type Packets = BTreeMap<String, u64>;

// === impl Counters ===

impl Counters {
    /// Puts counters on a node for packets to `port` of the plan's family, inside and outside the
    /// tunnel.
    ///
    /// # Errors
    /// When nft or the kernel (netdev egress: 5.16) refuses them.
    pub fn install(plan: &Plan, node: &Node, protocol: Protocol, port: u16) -> Result<Self> {
        let script =
            Script::new(Tool::Nft, Some(&node.namespace), lines(plan, node, protocol, port));
        let delete = format!("delete table netdev {TABLE}");
        let undo = vec![Script::new(Tool::Nft, Some(&node.namespace), [delete])];
        let guard = Injection::apply(&[script], undo)?;
        Ok(Self { namespace: node.namespace.clone(), _guard: guard })
    }

    /// What they have counted.
    ///
    /// # Errors
    /// When nft cannot read them.
    pub fn read(&self) -> Result<Packets> {
        let output = netns::command_in(&self.namespace, "nft")
            .args(["-j", "list", "counters", "table", "netdev", TABLE])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start nft: run `cargo xtask setup`")?;
        if !output.status.success() {
            bail!("nft cannot list the counters of {}", self.namespace)
        }
        parse(&serde_json::from_slice(&output.stdout).context("what nft printed")?)
    }
}

fn lines(plan: &Plan, node: &Node, protocol: Protocol, port: u16) -> Vec<String> {
    let protocol = match protocol {
        Protocol::Udp => "udp",
        Protocol::Tcp => "tcp",
    };
    let plain = format!("{protocol} dport {port}");
    let family = plan.site.family;
    let bits = (TO_INNER_PORT + family.header()) * 8;
    let tunnelled = format!("udp dport {} @th,{bits},16 {port}", plan.port);
    let overlay = plan.overlay(family);
    let places = [
        ("pod_out", node.bridge.as_str(), "ingress", &plain),
        ("overlay_out", &overlay, "egress", &plain),
        ("wire_out", &node.uplink, "egress", &tunnelled),
        ("wire_in", &node.uplink, "ingress", &tunnelled),
        ("overlay_in", &overlay, "ingress", &plain),
        ("pod_in", node.bridge.as_str(), "egress", &plain),
    ];
    let mut lines = vec![format!("add table netdev {TABLE}")];
    for (stage, device, hook, matches) in places {
        lines.push(format!("add counter netdev {TABLE} {stage}"));
        lines.push(format!(
            "add chain netdev {TABLE} at_{stage} \
             {{ type filter hook {hook} device \"{device}\" priority 0; }}"
        ));
        lines.push(format!("add rule netdev {TABLE} at_{stage} {matches} counter name {stage}"));
    }
    lines
}

fn parse(json: &Value) -> Result<Packets> {
    let items = json["nftables"].as_array().context("nft printed no list")?;
    let counter = |item: &Value| {
        let counter = item.get("counter")?;
        Some((counter["name"].as_str()?.to_owned(), counter["packets"].as_u64()?))
    };
    Ok(items.iter().filter_map(counter).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counters_are_read_from_what_nft_prints() {
        let printed = json!({"nftables": [
            {"metainfo": {"version": "1"}},
            {"counter": {"family": "netdev", "name": "wire_in", "packets": 7, "bytes": 70}},
        ]});
        assert_eq!(parse(&printed).unwrap(), Packets::from([("wire_in".into(), 7)]));
        assert!(parse(&json!({})).is_err());
    }
}
