//! After which stage a flow's packets were lost.

use super::case::{may_be_hidden, observed};
use crate::{
    evidence::{Evidence, Flow, Stage, StagePair},
    topology::Topology,
};

/// How many packets must be missing before a flow's numbers mean something.
const ENOUGH: u64 = 3;

/// The last stage that saw the packets of `flow` that were lost on this node; `None` when none
/// were. Only flows to a peer's or to the own pods are compared: others take other ways. Nor
/// are stages that packets may have passed unseen.
#[must_use]
pub fn lost_after(evidence: &Evidence, topology: &Topology<'_>, flow: &Flow) -> Option<Stage> {
    let is_seen = |pair: &StagePair| {
        observed(evidence, topology, pair.last_seen())
            && pair.next().is_none_or(|next| {
                observed(evidence, topology, next)
                    && !may_be_hidden(topology, &evidence.hooks, next)
            })
    };
    let died = |pair: &StagePair| {
        is_lossy(flow, *pair)
            && !(*pair == StagePair::OverlayToPod && is_translated(topology, flow))
    };
    pairs_of(topology, flow).into_iter().filter(is_seen).find(died).map(StagePair::last_seen)
}

fn pairs_of(topology: &Topology<'_>, flow: &Flow) -> Vec<StagePair> {
    if let Some(peer) = topology.peer_of(flow.destination) {
        return match peer.direct {
            Some(_) => Vec::new(),
            None => vec![StagePair::PodToOverlay, StagePair::OverlayToWire],
        };
    }
    if !topology.is_own(flow.destination) {
        return Vec::new();
    }
    let local = topology.tables.is_some_and(|tables| tables.is_local(flow.destination));
    if local {
        vec![StagePair::WireToOverlay]
    } else {
        vec![StagePair::WireToOverlay, StagePair::OverlayToPod]
    }
}

/// A flow born in the window is compared only where nothing at all arrived.
fn is_lossy(flow: &Flow, pair: StagePair) -> bool {
    let Some(next) = pair.next() else { return false };
    let (before, after) = (flow.packets.at(pair.last_seen()), flow.packets.at(next));
    before.saturating_sub(after) >= ENOUGH && (!flow.born_in_window || after == 0)
}

/// Whether the pod got this flow as another: an answer to a service address changes its source
/// between overlay_in and pod_in, and perhaps its source port.
fn is_translated(topology: &Topology<'_>, flow: &Flow) -> bool {
    let flows = topology.traffic.map_or(&[][..], |traffic| &traffic.flows);
    flow.packets.pod_in == 0
        && flows.iter().any(|other| {
            other.packets.pod_in > 0
                && other.packets.overlay_in == 0
                && other.protocol == flow.protocol
                && other.destination == flow.destination
                && other.destination_port == flow.destination_port
        })
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{Pass, Plan, observe, topology},
        *,
    };
    use crate::{
        evidence::{Evidence, StageCounts},
        topology::nth_address,
    };

    fn counts(overlay_in: u64, pod_in: u64) -> StageCounts {
        StageCounts { wire_in: overlay_in, overlay_in, pod_in, ..StageCounts::default() }
    }

    /// A node that received two flows for one port of its pod: from a peer's pod and, at the bridge
    /// alone, from `second`.
    fn received(second: &str, port: u16) -> Evidence {
        let plan = Plan::of(3, Pass::Tables);
        let mut evidence = plan.evidence();
        observe(&mut evidence);
        let traffic = evidence.traffic.as_mut().unwrap();
        let answer = Flow {
            source: nth_address(plan.hit_cidr(), 7),
            destination: nth_address(plan.own_cidr(), 9),
            protocol: 6,
            source_port: 8080,
            destination_port: 40_000,
            packets: counts(50, 0),
            leaked: 0,
            born_in_window: false,
            outer_source: None,
            translated_destination: None,
        };
        let at_bridge = Flow {
            source: second.parse().unwrap(),
            source_port: 80,
            destination_port: port,
            packets: counts(0, 50),
            ..answer.clone()
        };
        traffic.flows = vec![answer, at_bridge];
        evidence
    }

    fn told(evidence: &Evidence) -> Vec<Option<Stage>> {
        let topology = topology(evidence);
        let flows = &evidence.traffic.as_ref().unwrap().flows;
        flows.iter().map(|flow| lost_after(evidence, &topology, flow)).collect()
    }

    #[test]
    fn an_answer_that_arrives_with_the_address_of_its_service_is_not_lost() {
        assert_eq!(told(&received("10.96.0.10", 40_000)), [None, None]);
    }

    #[test]
    fn what_a_foreign_program_may_have_taken_is_not_lost() {
        let mut evidence = received("10.96.0.10", 40_001);
        evidence.hooks.iter_mut().for_each(|hook| hook.foreign = vec!["other".to_owned()]);
        assert_eq!(told(&evidence), [None, None]);
    }

    #[test]
    fn a_flow_to_another_port_says_nothing_about_an_answer() {
        let lost = Some(Stage::OverlayIn);
        assert_eq!(told(&received("10.96.0.10", 40_001)), [lost, None]);
    }
}
