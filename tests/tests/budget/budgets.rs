//! The budgets, and how each is measured.

use anyhow::{Result, ensure};
use tracer_common::names;

use crate::{
    in_situ::{drop_by_flow, drop_by_place, pod_to_pod},
    measure::{Measured, PACKETS, Run, against_minimal, on_two_processors, sampled},
    packets,
    programs::Programs,
};

/// Flows that a busy node has at a time.
const MANY: u32 = 32_768;
/// More than a measurement has packets, so that each is a new flow's.
const ENDLESS: u32 = 1 << 24;

/// One line of the table.
pub(crate) struct Budget {
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    pub(crate) must: f64,
    pub(crate) aim: f64,
    how: fn(&Programs) -> Result<Measured>,
}

pub(crate) const BUDGETS: [Budget; 14] = [
    Budget {
        id: "G1",
        what: "known flow, IPv4, overlay or bridge",
        must: 1.75,
        aim: 1.3,
        how: known_flow,
    },
    Budget {
        id: "G1b",
        what: "known flow, IPv6, overlay or bridge",
        must: 2.25,
        aim: 1.7,
        how: known_flow6,
    },
    Budget {
        id: "G2",
        what: "VXLAN at the uplink, peer and inner flow counted",
        must: 2.0,
        aim: 1.5,
        how: vxlan,
    },
    Budget { id: "G2b", what: "the same over IPv6", must: 3.0, aim: 2.2, how: vxlan6 },
    Budget { id: "G3", what: "DNS query or answer, paired", must: 6.0, aim: 4.5, how: dns },
    Budget {
        id: "G4",
        what: "ARP, other non-IP; at the bridge's ingress other than ARP",
        must: 0.3,
        aim: 0.05,
        how: arp,
    },
    Budget { id: "G5", what: "32,768 live flows in turn", must: 1.4, aim: 1.15, how: many_flows },
    Budget {
        id: "G6",
        what: "new flow each packet, map full; none refused",
        must: 1.6,
        aim: 1.3,
        how: new_flows,
    },
    Budget {
        id: "G7",
        what: "one flow on two processors, against one",
        must: 1.2,
        aim: 1.05,
        how: two_processors,
    },
    Budget {
        id: "G8",
        what: "pod to pod, all six stages in a lab, against minimal ones",
        must: 1.75,
        aim: 1.4,
        how: pod_to_pod,
    },
    Budget { id: "G9", what: "other traffic at the uplink", must: 0.3, aim: 0.1, how: other },
    Budget {
        id: "G10",
        what: "drop by reason and location, against a bare count, where they hang",
        must: 3.0,
        aim: 1.5,
        how: drop_by_place,
    },
    Budget {
        id: "G11",
        what: "drop by flow, reason and location, against a bare tuple map",
        must: 1.5,
        aim: 1.2,
        how: drop_by_flow,
    },
    Budget {
        id: "G12",
        what: "a sampled record, beside what its packet costs",
        must: 1.5,
        aim: 1.1,
        how: sampled_record,
    },
];

// === impl Budget ===

impl Budget {
    /// One try.
    pub(crate) fn measure(&self, programs: &Programs) -> Result<Measured> {
        (self.how)(programs)
    }
}

const fn run<'a>(program: &'static str, packet: &'a [u8]) -> Run<'a> {
    Run { program, packet, flows: None }
}

fn known_flow(programs: &Programs) -> Result<Measured> {
    let (out, into) = (packets::outbound(), packets::inbound());
    let runs = [
        run(names::POD_OUT, &out),
        run(names::OVERLAY_OUT, &out),
        run(names::OVERLAY_IN, &into),
        run(names::POD_IN, &into),
    ];
    counting(programs, &run("minimal", &out), &runs)
}

/// In units of the same minimal program: it is one for IPv4.
fn known_flow6(programs: &Programs) -> Result<Measured> {
    let (unit, out, into) = (packets::outbound(), packets::outbound6(), packets::inbound6());
    let runs = [
        run(names::POD_OUT, &out),
        run(names::OVERLAY_OUT, &out),
        run(names::OVERLAY_IN, &into),
        run(names::POD_IN, &into),
    ];
    counting(programs, &run("minimal", &unit), &runs)
}

fn vxlan(programs: &Programs) -> Result<Measured> {
    let (out, into) = (packets::vxlan_outbound(), packets::vxlan_inbound());
    let runs = [run(names::WIRE_OUT, &out), run(names::WIRE_IN, &into)];
    counting(programs, &run("minimal", &out), &runs)
}

fn vxlan6(programs: &Programs) -> Result<Measured> {
    let unit = packets::outbound();
    let (out, into) = (packets::vxlan_outbound6(), packets::vxlan_inbound6());
    let runs = [run(names::WIRE_OUT, &out), run(names::WIRE_IN, &into)];
    counting(programs, &run("minimal", &unit), &runs)
}

/// A query where a slot is written and where it is read, and an answer that finds none.
fn dns(programs: &Programs) -> Result<Measured> {
    let (unit, query, answer) = (packets::outbound(), packets::query(), packets::answer());
    let runs = [
        run(names::POD_OUT, &query),
        run(names::OVERLAY_OUT, &query),
        run(names::OVERLAY_IN, &answer),
        run(names::POD_IN, &answer),
    ];
    counting(programs, &run("minimal", &unit), &runs)
}

fn arp(programs: &Programs) -> Result<Measured> {
    let (out, arp, lldp) = (packets::outbound(), packets::arp(), packets::lldp());
    // What comes by ARP from a pod is looked at closely, who claims which address.
    let runs = [
        run(names::POD_OUT, &lldp),
        run(names::OVERLAY_OUT, &arp),
        run(names::WIRE_OUT, &arp),
        run(names::WIRE_IN, &arp),
        run(names::OVERLAY_IN, &arp),
        run(names::POD_IN, &arp),
    ];
    ignoring(programs, &run("minimal", &out), &runs)
}

fn other(programs: &Programs) -> Result<Measured> {
    let (out, other) = (packets::outbound(), packets::other());
    let runs = [names::WIRE_OUT, names::WIRE_IN].map(|program| run(program, &other));
    ignoring(programs, &run("minimal", &out), &runs)
}

fn sampled_record(programs: &Programs) -> Result<Measured> {
    let (out, tunnelled) = (packets::outbound(), packets::vxlan_inbound());
    let runs = [run(names::POD_OUT, &out), run(names::WIRE_IN, &tunnelled)];
    sampled(programs, &run("minimal", &out), &runs)
}

fn many_flows(programs: &Programs) -> Result<Measured> {
    through_flows(programs, MANY)
}

fn new_flows(programs: &Programs) -> Result<Measured> {
    let measured = through_flows(programs, ENDLESS)?;
    let refused = programs.refused()?;
    ensure!(refused == 0, "the flow table has refused {refused} entries");
    Ok(measured)
}

fn through_flows(programs: &Programs, flows: u32) -> Result<Measured> {
    let packet = packets::outbound();
    let turn = |program| Run { program, packet: &packet, flows: Some(flows) };
    counting(programs, &turn("minimal"), &[turn(names::POD_OUT)])
}

/// A measurement of programs that count every packet: one that missed them would look fast.
fn counting(programs: &Programs, unit: &Run<'_>, runs: &[Run<'_>]) -> Result<Measured> {
    let before = programs.counted()?;
    let measured = against_minimal(programs, unit, runs)?;
    let counted = programs.counted()? - before;
    let sent = u64::from(PACKETS) * runs.len() as u64;
    ensure!(counted >= sent, "only {counted} packets were counted");
    Ok(measured)
}

/// A measurement of programs with packets that are not theirs.
fn ignoring(programs: &Programs, unit: &Run<'_>, runs: &[Run<'_>]) -> Result<Measured> {
    let before = programs.counted()?;
    let measured = against_minimal(programs, unit, runs)?;
    ensure!(programs.counted()? == before, "packets of others were counted");
    Ok(measured)
}

fn two_processors(programs: &Programs) -> Result<Measured> {
    on_two_processors(programs, &run(names::POD_OUT, &packets::outbound()))
}
