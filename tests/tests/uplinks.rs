//! What breaks most often, wherever it breaks: a route, an FDB entry or the overlay device of a lab
//! of each stack, over Ethernet and over TUN devices, of one node, two and five; told by both ways
//! to attach, whether pods send or the nodes themselves. A healthy lab of each is told to be one.
//!
//! Every change plays two of the labs, `cargo xtask test --all` all of them. What faults do
//! otherwise is in `tracer_faults`, and what only TUN devices have in `tun`.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    fmt,
    io::{self, Write as _},
};

use anyhow::Result;
use tracer_tests::{
    expect::Injected,
    fault::{self, Fault},
    healthy,
    lab::{LOCK_WAIT, Lab},
    matrix::{Attach, Case},
    plan::{Plan, Site, Stack, UplinkKind},
    sample::{OF_LAB, Sample},
    seed::Shape,
    size,
    tracer::{CheckOutput, Intent},
    traffic::{self, Traffic},
};

/// How long each check looks.
const WINDOW: [&str; 2] = ["3s", "5s"];
const FAULTS: [&str; 3] = ["pod-route-missing", "fdb-entry-missing", "flannel-link-down"];
const NODES: [usize; 3] = [1, 2, 5];
const UPLINKS: [UplinkKind; 2] = [UplinkKind::Ethernet, UplinkKind::Tun];
const STACKS: [Stack; 3] = [Stack::V4, Stack::V6, Stack::Dual];
/// One of so many labs is played where not all of them are.
const SHARE: usize = 18;
/// The seed of the first lab.
const SEED: u64 = 600;

/// A kind of lab.
#[derive(Debug, Clone, Copy)]
struct Kind {
    nodes: usize,
    uplink: UplinkKind,
    stack: Stack,
}

/// Who sends.
#[derive(Debug, Clone, Copy)]
enum Senders {
    /// Pods and nodes, to everybody.
    Everybody,
    /// Nodes to pods of others, and pods to other nodes.
    Hosts,
}

/// A lab that is being played.
struct Stage {
    lab: Lab,
    kind: Kind,
    /// Checks so far: each takes another intent.
    checks: usize,
    wrong: String,
}

#[test]
fn the_common_faults_are_told_over_every_uplink_stack_and_number_of_nodes() {
    let share = Sample::of_environment(OF_LAB).unwrap();
    let kinds = kinds().into_iter().enumerate();
    let played = kinds.filter(|(index, _)| share.has_turn(*index, SHARE));
    let wrong: String = played
        .map(|(index, kind)| play(kind, index, share.lab_seed(SEED + index as u64)))
        .collect();
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Every number of nodes with every uplink and every stack.
fn kinds() -> Vec<Kind> {
    let with_stacks =
        |nodes, uplink| STACKS.into_iter().map(move |stack| Kind { nodes, uplink, stack });
    let with_uplinks =
        |nodes| UPLINKS.into_iter().flat_map(move |uplink| with_stacks(nodes, uplink));
    NODES.into_iter().flat_map(with_uplinks).collect()
}

/// The healthy lab and each fault in it; gives one line for each answer that is wrong.
fn play(kind: Kind, index: usize, seed: u64) -> String {
    let lab = Lab::up(Plan::draw(seed, &kind.shape()), LOCK_WAIT).unwrap();
    let mut stage = Stage { lab, kind, checks: index, wrong: String::new() };
    stage.healthy();
    for (number, fault) in FAULTS.map(|name| fault::named(name).unwrap()).iter().enumerate() {
        if kind.nodes > 1 || fault.alone {
            stage.broken(fault, index + number);
        }
    }
    say(&format!("{kind}, seed {seed}: {} wrong\n", stage.wrong.lines().count()));
    stage.wrong
}

/// Past the capture of the test harness: these lines are for the reader of a passing run too.
fn say(text: &str) {
    io::stderr().write_all(text.as_bytes()).unwrap();
}

// === impl Kind ===

impl Kind {
    /// TUN devices have the MTU that a VPN gives them: with tailscaled's, 1280, there is no tunnel
    /// over IPv6, whose device would have less than IPv6 needs (RFC 8200).
    fn shape(self) -> Shape {
        let uplink_mtu = match (self.uplink, self.stack) {
            (UplinkKind::Ethernet, _) => 1500,
            (UplinkKind::Tun, Stack::V4) => 1280,
            (UplinkKind::Tun, _) => 1420,
        };
        let Self { nodes, uplink, stack } = self;
        Shape { nodes: Some(nodes), uplink, stack, uplink_mtu, ..Shape::default() }
    }

    /// Alone there is nobody to send to.
    fn senders(self) -> &'static [Senders] {
        if self.nodes > 1 { &[Senders::Everybody, Senders::Hosts] } else { &[Senders::Everybody] }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} nodes, {:?}, {:?}", self.nodes, self.uplink, self.stack)
    }
}

// === impl Senders ===

impl Senders {
    fn start(self, lab: &Lab) -> Traffic {
        match self {
            Self::Everybody => lab.traffic_all_pairs(),
            Self::Hosts => Traffic::start(traffic::with_hosts(lab.plan(), &lab.plan().all_nodes())),
        }
    }
}

// === impl Stage ===

impl Stage {
    fn healthy(&mut self) {
        for senders in self.kind.senders() {
            self.check("healthy", *senders, |plan, case, answer| {
                healthy::judge(plan, &plan.all_nodes(), case.node, answer)
            });
        }
    }

    /// Where both IP versions are spoken, `turn` says which one is struck.
    fn broken(&mut self, fault: &Fault, turn: usize) {
        let families = self.kind.stack.families();
        let site = Site { family: families[turn % families.len()], ..self.lab.plan().site };
        for senders in self.kind.senders() {
            let injection = self.lab.inject(fault, site).unwrap();
            self.check(fault.name, *senders, |plan, case, answer| {
                let injected = Injected { plan, fault, site };
                injected.judge(case.node, case.intent, answer).map(drop)
            });
            injection.heal().unwrap();
            self.lab.wait_connected(&self.lab.plan().all_nodes()).unwrap();
        }
    }

    /// Every node by both ways to attach, at the same time.
    fn check(
        &mut self,
        what: &str,
        senders: Senders,
        judge: impl Fn(&Plan, &Case, &CheckOutput) -> Result<()>,
    ) {
        let plan = self.lab.plan();
        let intent = Intent::ALL[self.checks % Intent::ALL.len()];
        self.checks += 1;
        let mut cases = Case::all(&plan.all_nodes());
        cases.retain(|case| case.intent == intent);
        assert_eq!(cases.len(), plan.nodes.len() * Attach::on_this_kernel().len());
        let _traffic = senders.start(&self.lab);
        let folder = tempfile::tempdir().unwrap();
        let answers = self.lab.check_cases(&cases, size::of(WINDOW[0], WINDOW[1]), folder.path());
        for (case, answer) in cases.iter().zip(answers) {
            if let Err(error) = answer.and_then(|answer| judge(plan, case, &answer)) {
                let (kind, seed) = (self.kind, plan.seed);
                self.wrong +=
                    &format!("{kind}, seed {seed}, {what}, {senders:?} send, {case}: {error:#}\n");
            }
        }
    }
}
