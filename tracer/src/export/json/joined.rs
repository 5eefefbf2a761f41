//! The document for several nodes that were judged together.

use std::cmp::Reverse;

use serde::Serialize;

use super::{
    Check, CoverageJson, DropJson, FindingJson, FlannelJson, FlowJson, InterfaceJson, NodeJson,
    PeerJson, StagesJson, VipJson, coverage, cut, dns::DnsJson, document, drop, peer,
    probe::ProbeJson, total,
};
use crate::{
    diagnose::{Joined, JoinedFinding, JoinedNode, PeerVerdict},
    evidence::{Capability, Evidence, Window},
    filter::FlowFilter,
};

/// What belongs to one node.
#[derive(Debug, Serialize)]
pub(super) struct PartJson<'a> {
    key: &'a str,
    #[serde(flatten)]
    node: NodeJson<'a>,
    window: Window,
    interfaces: Vec<InterfaceJson<'a>>,
    capabilities: &'a [Capability],
    coverage: CoverageJson,
    stages: StagesJson,
    flows: Vec<FlowJson>,
    drops: Vec<DropJson<'a>>,
    dns: Vec<DnsJson>,
    vips: Vec<VipJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probes: Option<Vec<ProbeJson<'a>>>,
    flannel: FlannelJson,
}

/// The document as text, one line at the end. `evidence` is that of the joined nodes, in their
/// order; what belongs to one node stands in `nodes`, and that of the first where it stands for one
/// node alone.
///
/// # Errors
/// When a value cannot be serialised.
pub fn render_joined(
    joined: &Joined,
    evidence: &[Evidence],
    filter: Option<&FlowFilter>,
) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(&all(joined, evidence, filter))?;
    text.push('\n');
    Ok(text)
}

fn all<'a>(
    joined: &'a Joined,
    evidence: &'a [Evidence],
    filter: Option<&FlowFilter>,
) -> Option<Check<'a>> {
    let each = || joined.nodes.iter().zip(evidence);
    let (first, of_first) = each().next()?;
    let mut check = document(&first.diagnosis, of_first, filter);
    check.nodes = each().map(|(node, evidence)| part(node, evidence, filter)).collect();
    check.coverage = coverage(&joined.coverage, drop::coverage(evidence));
    check.unseen = &joined.unseen;
    check.truncated.retain(|name, _| {
        ["dns", "drops", "flows", "probes", "vips", "vip_clients"].contains(name)
    });
    check.findings = joined.findings.iter().map(|it| finding(joined, it)).collect();
    cut(&mut check.findings, "findings", &mut check.truncated);
    check.peers = peers(joined);
    cut(&mut check.peers, "peers", &mut check.truncated);
    Some(check)
}

fn part<'a>(
    node: &'a JoinedNode,
    evidence: &'a Evidence,
    filter: Option<&FlowFilter>,
) -> PartJson<'a> {
    let Check {
        node: who,
        window,
        interfaces,
        capabilities,
        coverage,
        stages,
        flows,
        drops,
        dns,
        vips,
        probes,
        flannel,
        ..
    } = document(&node.diagnosis, evidence, filter);
    let key = &node.key;
    PartJson {
        key,
        node: who,
        window,
        interfaces,
        capabilities,
        coverage,
        stages,
        flows,
        drops,
        dns,
        vips,
        probes,
        flannel,
    }
}

fn finding<'a>(joined: &'a Joined, found: &'a JoinedFinding) -> FindingJson<'a> {
    FindingJson { finding: &found.finding, node: Some(&joined.nodes[found.node].key) }
}

/// A row for each peer of each node, most packets first.
fn peers(joined: &Joined) -> Vec<PeerJson<'_>> {
    let all = joined.nodes.iter();
    let mut rows: Vec<(&JoinedNode, &PeerVerdict)> =
        all.flat_map(|node| node.diagnosis.peers.iter().map(move |peer| (node, peer))).collect();
    rows.sort_by_key(|(_, peer)| Reverse(total(peer)));
    rows.into_iter()
        .map(|(node, verdict)| PeerJson { seen_from: Some(&node.key), ..peer(verdict) })
        .collect()
}
