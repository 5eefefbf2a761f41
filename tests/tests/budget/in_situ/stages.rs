//! All six stages of a packet from pod to pod, between two nodes of the lab.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    programs::{ProgramInfo, SchedClassifier, TcAttachType},
    sys::{Stats, enable_stats},
};
use tracer::kernel::YARDSTICK;
use tracer_common::names;
use tracer_tests::{
    lab::{LOCK_WAIT, Lab},
    netns,
    plan::{Family, Plan, SYSLOG_PORT},
    seed::Shape,
    tracer::Intent,
    traffic::{Flow, Limits, Sender, Traffic},
};

use super::{ROUNDS, Runs};
use crate::{measure::Measured, programs::Programs};

/// Datagrams in a round, and how fast they are sent.
const DATAGRAMS: u64 = 20_000;
const RATE: f64 = 20_000.0;
const YARDSTICKS: [&str; 2] = ["empty", "minimal"];

/// One hook on the way.
struct Hook {
    namespace: String,
    device: String,
    side: TcAttachType,
    /// The tracer's program there.
    program: &'static str,
}

/// The stages' programs, net of empty ones, against minimal ones.
///
/// Beside each of the tracer's programs hang an empty and a minimal one. The tracer's is the first
/// of them at ingress and the last at egress, so each has the packet's bytes fetched for it as often.
pub(crate) fn pod_to_pod(_: &Programs) -> Result<Measured> {
    let shape = Shape { nodes: Some(2), ..Shape::default() };
    let lab = Lab::up(Plan::draw(808, &shape), LOCK_WAIT)?;
    let _statistics = enable_stats(Stats::RunTime)?;
    let watch = |node| lab.watch(node, Intent::SubnetEnv, &["--attach", "tcx"]);
    let _watches = [watch(0)?, watch(1)?];
    let hooks = hooks(lab.plan());
    let _yardsticks: Vec<Ebpf> = hooks.iter().map(attach).collect::<Result<_>>()?;
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        let before = hooks.iter().map(runs).collect::<Result<Vec<_>>>()?;
        send(&lab)?;
        let after = hooks.iter().map(runs).collect::<Result<Vec<_>>>()?;
        // The first one fills tables and caches.
        if round > 0 {
            rounds.push(sums(&hooks, &before, &after)?);
        }
    }
    Ok(Measured::of_rounds("all six", &rounds))
}

/// From the first node's pod to the second's.
fn hooks(plan: &Plan) -> Vec<Hook> {
    let [from, to] = [&plan.nodes[0], &plan.nodes[1]];
    let overlay = plan.overlay(Family::V4);
    let (ingress, egress) = (TcAttachType::Ingress, TcAttachType::Egress);
    let places = [
        (from, &from.bridge, ingress, names::POD_OUT),
        (from, &overlay, egress, names::OVERLAY_OUT),
        (from, &from.uplink, egress, names::WIRE_OUT),
        (to, &to.uplink, ingress, names::WIRE_IN),
        (to, &overlay, ingress, names::OVERLAY_IN),
        (to, &to.bridge, egress, names::POD_IN),
    ];
    let hook = |(node, device, side, program): (&tracer_tests::plan::Node, &String, _, _)| Hook {
        namespace: node.namespace.clone(),
        device: device.clone(),
        side,
        program,
    };
    places.into_iter().map(hook).collect()
}

/// Hangs the yardstick's programs on a hook, until it is dropped.
fn attach(hook: &Hook) -> Result<Ebpf> {
    netns::run_in(&hook.namespace, || {
        let mut ebpf = EbpfLoader::new().load(YARDSTICK)?;
        for name in YARDSTICKS {
            let program = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
            let program: &mut SchedClassifier = program.try_into()?;
            program.load()?;
            program.attach(&hook.device, hook.side)?;
        }
        Ok(ebpf)
    })
}

/// The runs of all programs on a hook, by name.
fn runs(hook: &Hook) -> Result<BTreeMap<String, Runs>> {
    netns::run_in(&hook.namespace, || {
        let (_, programs) = SchedClassifier::query_tcx(&hook.device, hook.side)?;
        let named = |info: &ProgramInfo| {
            Ok((String::from_utf8_lossy(info.name()).into_owned(), Runs::of(info)?))
        };
        programs.iter().map(named).collect()
    })
}

fn send(lab: &Lab) -> Result<()> {
    let [from, to] = [0, 1].map(|node| lab.plan().nodes[node].first_pod());
    let (from, to) = (from.context("a pod")?, to.context("a pod")?);
    let sender = Sender {
        namespace: from.namespace.clone(),
        flow: Flow::UdpOneWay { to: to.at(Family::V4, SYSLOG_PORT), size: 120 },
        limits: Limits::exactly(DATAGRAMS, RATE),
    };
    for (sender, counts) in Traffic::start(vec![sender]).finish()? {
        ensure!((counts.sent, counts.errors) == (DATAGRAMS, 0), "{sender:?}: {counts:?}");
    }
    Ok(())
}

/// Nanoseconds of a packet in all of the tracer's programs, and in all minimal ones, both net of
/// the empty ones.
fn sums(
    hooks: &[Hook],
    before: &[BTreeMap<String, Runs>],
    after: &[BTreeMap<String, Runs>],
) -> Result<(f64, f64)> {
    let (mut own, mut unit) = (0.0, 0.0);
    for (hook, (before, after)) in hooks.iter().zip(before.iter().zip(after)) {
        let each = |name: &str| {
            let of = |runs: &BTreeMap<String, Runs>| {
                let known = runs.get(name).copied();
                known.with_context(|| format!("no {name} at {} {:?}", hook.device, hook.side))
            };
            of(after)?.each_since(of(before)?)
        };
        let empty = each("empty")?;
        own += each(hook.program)? - empty;
        unit += each("minimal")? - empty;
    }
    Ok((own, unit))
}
