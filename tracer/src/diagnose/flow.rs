//! After which stage a flow's packets were lost.

use super::case::{may_be_hidden, observed};
use crate::{
    evidence::{Evidence, Flow, Stage, StageCounts, StagePair, Traffic},
    topology::Topology,
};

/// How many packets must be missing before a flow's numbers mean something.
const ENOUGH: u64 = 3;

/// A flow to a service, with what became of its packets under the address of the pod behind it.
#[derive(Debug)]
pub struct Followed<'a> {
    /// The flow to that pod, with the counts of both names. They are not read at one moment: it counts
    /// as born in the window.
    pub whole: Flow,
    /// What is listed under the pod's address, if anything is.
    pub continuation: Option<&'a Flow>,
}

/// Follows a flow through the translation of its destination. `None` where it has none, or where
/// what became of it is not certain: its second name may be left out, or be another flow's too.
#[must_use]
pub fn followed<'a>(flow: &Flow, traffic: &'a Traffic) -> Option<Followed<'a>> {
    let (destination, port) = flow.translated_destination.zip(flow.translated_port)?;
    let name = (flow.source, destination, flow.protocol, flow.source_port, port);
    let continuation = traffic.flows.iter().find(|it| {
        (it.source, it.destination, it.protocol, it.source_port, it.destination_port) == name
    });
    let is_shared = continuation.is_some_and(|it| it.packets.pod_out > 0);
    let own = &traffic.own;
    let unlisted = traffic.flows_left_out + own.flow_evictions + own.map_insert_failures;
    if is_shared || (continuation.is_none() && unlisted > 0) {
        return None;
    }
    let mut whole = Flow {
        destination,
        destination_port: port,
        born_in_window: true,
        translated_destination: None,
        translated_port: None,
        ..flow.clone()
    };
    if let Some(then) = continuation {
        whole.packets = together(&flow.packets, &then.packets);
        whole.leaked += then.leaked;
    }
    Some(Followed { whole, continuation })
}

fn together(one: &StageCounts, other: &StageCounts) -> StageCounts {
    let mut counts = *one;
    for stage in Stage::ALL {
        *counts.at_mut(stage) += other.at(stage);
    }
    counts
}

/// The last stage that saw the packets of `flow` that were lost on this node; `None` when none
/// were. Only flows to a peer's or to the own pods are compared, and those to services that can be
/// followed to one: others take other ways. Nor are stages that packets may have passed unseen.
#[must_use]
pub fn lost_after(evidence: &Evidence, topology: &Topology<'_>, flow: &Flow) -> Option<Stage> {
    let followed = topology.traffic.and_then(|traffic| followed(flow, traffic));
    let flow = followed.as_ref().map_or(flow, |it| &it.whole);
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
        super::testing::{Pass, Plan, flow_of, observe, topology},
        *,
    };
    use crate::{
        evidence::{DropFlow, Evidence, StageCounts},
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
        let answer = flow_of(
            DropFlow {
                source: nth_address(plan.hit_cidr(), 7),
                destination: nth_address(plan.own_cidr(), 9),
                protocol: 6,
                source_port: 8080,
                destination_port: 40_000,
            },
            counts(50, 0),
        );
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

    /// A flow of a pod to a service, behind which a peer's pod stands, and what is listed under the
    /// address of that.
    fn to_service(sent: u64, then: Option<StageCounts>) -> Evidence {
        let mut evidence = received("10.96.0.10", 40_000);
        let plan = Plan::of(3, Pass::Tables);
        let flows = &mut evidence.traffic.as_mut().unwrap().flows;
        let asked = Flow {
            source: nth_address(plan.own_cidr(), 9),
            destination: [10, 96, 0, 10].into(),
            source_port: 40_000,
            destination_port: 80,
            packets: StageCounts { pod_out: sent, ..StageCounts::default() },
            translated_destination: Some(nth_address(plan.hit_cidr(), 7)),
            translated_port: Some(8080),
            ..flows[0].clone()
        };
        let continued = then.map(|packets| Flow {
            destination: nth_address(plan.hit_cidr(), 7),
            destination_port: 8080,
            packets,
            translated_destination: None,
            translated_port: None,
            ..asked.clone()
        });
        *flows = [asked].into_iter().chain(continued).collect();
        evidence
    }

    fn sent(overlay_out: u64, wire_out: u64) -> Option<StageCounts> {
        Some(StageCounts { overlay_out, wire_out, ..StageCounts::default() })
    }

    #[test]
    fn a_flow_to_a_service_is_followed_to_the_pod_behind_it() {
        assert_eq!(told(&to_service(50, sent(50, 50)))[0], None);
        assert_eq!(told(&to_service(50, sent(50, 0)))[0], Some(Stage::OverlayOut));
        assert_eq!(told(&to_service(50, None))[0], Some(Stage::PodOut));
        // Both names are not read at one moment.
        assert_eq!(told(&to_service(50, sent(40, 40)))[0], None);
    }

    #[test]
    fn a_flow_that_may_have_arrived_unlisted_or_was_not_followed_is_not_lost() {
        let mut evidence = to_service(50, None);
        evidence.traffic.as_mut().unwrap().flows_left_out = 1;
        assert_eq!(told(&evidence), [None]);
        let mut evidence = to_service(50, None);
        evidence.traffic.as_mut().unwrap().own.flow_evictions = 1;
        assert_eq!(told(&evidence), [None]);
        let mut evidence = to_service(50, None);
        evidence.traffic.as_mut().unwrap().flows[0].translated_port = None;
        assert_eq!(told(&evidence), [None]);
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
