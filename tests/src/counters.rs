//! nftables counters beside the tracer's hooks of a node, to compare its figures with. They count
//! what the packet filter sees: a GSO packet once, whatever its number of segments.
//!
//! What leaves by a device is counted at the device. The packet filter can do so since Linux 5.16;
//! before, it is counted by the hook that it passes just before, `postrouting`.

use std::{collections::BTreeMap, process::Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    fault::Injection,
    kernel, netns,
    plan::{Node, Plan},
    script::{Script, Tool},
};

/// The families that have a table of this name.
const FAMILIES: [&str; 2] = ["netdev", "ip"];
const TABLE: &str = "fltr_count";
/// Bytes from the outer UDP header to the inner UDP or TCP destination port, but for the inner IP
/// header: UDP 8, VXLAN 8, Ethernet 14, source port 2.
const TO_INNER_PORT: usize = 8 + 8 + 14 + 2;
/// The first kernel whose packet filter has a hook at the egress of a device.
const EGRESS: (u32, u32) = (5, 16);

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
    /// When nft or the kernel refuses them.
    pub fn install(plan: &Plan, node: &Node, protocol: Protocol, port: u16) -> Result<Self> {
        let lines = lines(plan, node, protocol, port, !kernel::is_before(EGRESS));
        let script = Script::new(Tool::Nft, Some(&node.namespace), lines);
        let delete = FAMILIES.map(|family| format!("delete table {family} {TABLE}"));
        let undo = vec![Script::new(Tool::Nft, Some(&node.namespace), delete)];
        let guard = Injection::apply(&[script], undo)?;
        Ok(Self { namespace: node.namespace.clone(), _guard: guard })
    }

    /// What they have counted.
    ///
    /// # Errors
    /// When nft cannot read them.
    pub fn read(&self) -> Result<Packets> {
        let mut packets = Packets::new();
        for family in FAMILIES {
            let output = netns::command_in(&self.namespace, "nft")
                .args(["-j", "list", "counters", "table", family, TABLE])
                .stderr(Stdio::inherit())
                .output()
                .context("cannot start nft: run `cargo xtask setup`")?;
            if !output.status.success() {
                bail!("nft cannot list the counters of {}", self.namespace)
            }
            packets.extend(parse(
                &serde_json::from_slice(&output.stdout).context("what nft printed")?,
            )?);
        }
        Ok(packets)
    }
}

/// `at_egress`: whether the kernel has a hook at the egress of a device.
fn lines(plan: &Plan, node: &Node, protocol: Protocol, port: u16, at_egress: bool) -> Vec<String> {
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
    let mut lines: Vec<String> =
        FAMILIES.iter().map(|family| format!("add table {family} {TABLE}")).collect();
    for (stage, device, hook, matches) in places {
        let (family, hook, matches) = if hook == "egress" && !at_egress {
            ("ip", "postrouting".to_owned(), format!("oifname \"{device}\" {matches}"))
        } else {
            ("netdev", format!("{hook} device \"{device}\""), matches.clone())
        };
        lines.push(format!("add counter {family} {TABLE} {stage}"));
        lines.push(format!(
            "add chain {family} {TABLE} at_{stage} {{ type filter hook {hook} priority 0; }}"
        ));
        lines.push(format!("add rule {family} {TABLE} at_{stage} {matches} counter name {stage}"));
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
    use crate::seed::Shape;

    #[test]
    fn every_stage_is_counted_whether_or_not_devices_have_a_hook_at_their_egress() {
        let plan = Plan::draw(1, &Shape::default());
        for (at_egress, postrouting) in [(true, 0), (false, 3)] {
            let lines = lines(&plan, plan.victim(), Protocol::Udp, 514, at_egress);
            let with = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
            assert_eq!(with("add rule "), 6);
            assert_eq!((with("hook postrouting"), with("oifname")), (postrouting, postrouting));
            assert_eq!(with("hook egress") + postrouting, 3);
        }
    }

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
