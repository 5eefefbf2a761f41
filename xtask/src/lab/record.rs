//! `cargo xtask lab record`: the evidence of every fault, on which the rules are tried without a
//! lab.
//!
//! Faults are played one after the other in a few labs, look-alikes in one each. The answers are
//! held against what the lab expects before anything is written: the corpus says what is right, and
//! not what a tracer once said.

mod index;
mod scrub;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use tracer_tests::expect::{Injected, Said, only_finding};
use tracer_tests::fault::{self, Fault};
use tracer_tests::healthy;
use tracer_tests::lab::{LOCK_WAIT, Lab};
use tracer_tests::lookalike::{self, LookAlike};
use tracer_tests::matrix::{Attach, Case};
use tracer_tests::plan::{Plan, Site, Stack};
use tracer_tests::sample::HEALTHY;
use tracer_tests::seed::Shape;
use tracer_tests::state;
use tracer_tests::tracer::{CheckOutput, Intent};
use tracer_tests::traffic::{self, Flow, Sender, Traffic};

use self::index::{Entry, Index};
use crate::shell;

/// Where the evidence is kept, below the workspace.
const FOLDER: &str = "tracer/tests/corpus";
/// How long each check looks: longer windows hold more flows, and say the same.
const WINDOW: &str = "2s";
/// Of exchanges that are a new flow each, so many a second: each costs some hundred bytes.
const NEW_FLOWS: f64 = 0.5;
/// Victim and peer: what more nodes show the suites see.
const NODES: usize = 2;

/// How many scenes are played in one lab, one after the other.
const SCENES: usize = 10;

/// Record the evidence of faults and look-alikes for the corpus of the rules' tests.
#[derive(Args)]
pub(crate) struct RecordArgs {
    /// What the labs are drawn from
    #[arg(long, default_value_t = 900)]
    seed: u64,
    /// Faults and look-alikes that `list` shows, or `healthy`; everything when not given
    names: Vec<String>,
}

/// What is recorded in one lab.
enum Scene {
    Healthy,
    Broken(Fault),
    LooksBroken(LookAlike),
}

/// The stacks of labs in turn.
const STACKS: [Stack; 3] = [Stack::V4, Stack::V6, Stack::Dual];

/// What a node said, as it is kept.
struct Recorded {
    entry: Entry,
    text: String,
}

pub(crate) fn run(args: &RecordArgs) -> Result<()> {
    let scenes = all();
    if let Some(unknown) = args.names.iter().find(|it| scenes.iter().all(|s| s.name() != **it)) {
        bail!("nothing is called {unknown}: `cargo xtask lab list` shows what there is")
    }
    let folder = shell::workspace().join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let mut index = Index::read(&folder)?;
    if args.names.is_empty() {
        index.remove_all(&folder)?;
    }
    let is_wanted =
        |scene: &&Scene| args.names.is_empty() || args.names.iter().any(|it| it == scene.name());
    for (number, group) in groups(&scenes).into_iter().enumerate() {
        let wanted: Vec<&Scene> = group.iter().filter(is_wanted).collect();
        if !wanted.is_empty() {
            record(&wanted, args.seed, number, &folder, &mut index)?;
        }
    }
    Ok(())
}

/// A healthy lab first: what is seen there is in all others. What needs more nodes comes last of
/// the faults, so that few labs are larger than they have to be.
fn all() -> Vec<Scene> {
    let mut faults = fault::all();
    faults.sort_by_key(|fault| fault.nodes);
    let faults = faults.into_iter().map(Scene::Broken);
    let look_alikes = lookalike::all().into_iter().map(Scene::LooksBroken);
    std::iter::once(Scene::Healthy).chain(faults).chain(look_alikes).collect()
}

/// Whether no fault before this one has its code.
fn is_first(fault: &Fault) -> bool {
    fault::all().iter().find(|it| it.code == fault.code).is_some_and(|it| it.name == fault.name)
}

/// The scenes of each lab. A look-alike stays for the rest of its lab's life.
fn groups(scenes: &[Scene]) -> Vec<&[Scene]> {
    let look_alikes = scenes.iter().take_while(|it| !matches!(it, Scene::LooksBroken(_))).count();
    let (healed, alone) = scenes.split_at(look_alikes);
    healed.chunks(SCENES).chain(alone.chunks(1)).collect()
}

/// Plays scenes in one lab, one after the other, and keeps what its nodes said.
fn record(
    scenes: &[&Scene],
    seed: u64,
    number: usize,
    folder: &Path,
    index: &mut Index,
) -> Result<()> {
    let Some(mut shape) = scenes.iter().map(|it| it.shape()).max_by_key(|it| it.nodes) else {
        return Ok(());
    };
    if scenes.iter().all(|scene| scene.has_any_stack()) {
        shape.stack = STACKS[number % STACKS.len()];
    }
    let lab = Lab::up(Plan::draw(seed + number as u64, &shape), LOCK_WAIT)?;
    for scene in scenes {
        let name = scene.name();
        let recorded = scene.play(&lab).with_context(|| name.to_owned())?;
        index.remove(folder, name)?;
        for Recorded { entry, text } in recorded {
            println!("{:52} {:6} bytes  {}", entry.file, text.len(), entry.told());
            write(&folder.join(&entry.file), &text)?;
            index.add(entry);
        }
        write(&Index::path(folder), &index.text())?;
    }
    Ok(())
}

/// The lab's steady traffic in fewer flows.
fn few_flows(plan: &Plan, members: &[usize]) -> Vec<Sender> {
    let mut senders = traffic::all_pairs(plan, members);
    for sender in &mut senders {
        if matches!(sender.flow, Flow::TcpExchange { .. } | Flow::Dns { .. }) {
            sender.limits.rate = NEW_FLOWS;
        }
    }
    senders
}

/// Writes a file that belongs to whoever owns the workspace, though root records it.
fn write(path: &Path, text: &str) -> Result<()> {
    let owner = fs::metadata(shell::workspace()).context("the workspace")?;
    fs::write(path, text).with_context(|| path.display().to_string())?;
    chown(path, Some(owner.uid()), Some(owner.gid())).with_context(|| path.display().to_string())
}

// === impl Scene ===

impl Scene {
    fn name(&self) -> &'static str {
        match self {
            Self::Healthy => HEALTHY,
            Self::Broken(fault) => fault.name,
            Self::LooksBroken(look_alike) => look_alike.name,
        }
    }

    fn shape(&self) -> Shape {
        let of_nodes = |nodes| Shape { nodes: Some(nodes), ..Shape::default() };
        match self {
            Self::Healthy => of_nodes(NODES),
            Self::Broken(fault) => of_nodes(fault.nodes.max(NODES)),
            Self::LooksBroken(look_alike) => {
                let shape = (look_alike.shape)();
                Shape { nodes: shape.nodes.or(Some(shape.min_nodes.max(2))), ..shape }
            }
        }
    }

    /// Whether a lab of IPv6 shows it as well.
    fn has_any_stack(&self) -> bool {
        match self {
            Self::Healthy => true,
            Self::Broken(fault) => fault.families == Stack::Dual.families(),
            Self::LooksBroken(_) => false,
        }
    }

    fn members(&self, plan: &Plan) -> Vec<usize> {
        match self {
            Self::Healthy | Self::Broken(_) => plan.all_nodes(),
            Self::LooksBroken(look_alike) => (look_alike.members)(plan),
        }
    }

    /// The nodes whose evidence is kept: the victim, and for the first fault with its code one that
    /// talks to it; where nothing is broken, one.
    fn nodes(&self, plan: &Plan) -> Vec<usize> {
        let Site { victim, peer, .. } = plan.site;
        match self {
            Self::Broken(fault) if is_first(fault) => vec![victim, peer],
            Self::Broken(_) => vec![victim],
            _ if self.members(plan).contains(&victim) => vec![victim],
            _ => vec![peer],
        }
    }

    /// Plays it and looks at it; afterwards the lab is healthy again, but for a look-alike.
    fn play(&self, lab: &Lab) -> Result<Vec<Recorded>> {
        let site = lab.plan().site;
        match self {
            Self::Healthy => self.look(lab),
            Self::LooksBroken(look_alike) => {
                let _own_traffic = lab.set_up(look_alike)?;
                self.look(lab)
            }
            Self::Broken(fault) => {
                let injection = lab.inject(fault, site)?;
                let recorded = self.look(lab)?;
                injection.heal()?;
                lab.wait_connected(&lab.plan().all_nodes())?;
                Ok(recorded)
            }
        }
    }

    /// What the nodes say, held against what the lab expects.
    fn look(&self, lab: &Lab) -> Result<Vec<Recorded>> {
        let plan = lab.plan();
        let _traffic = Traffic::start(few_flows(plan, &self.members(plan)));
        let attach = Attach::on_this_kernel()[0];
        let case = |node| Case { node, intent: Intent::PeersFile, attach };
        let cases: Vec<Case> = self.nodes(plan).into_iter().map(case).collect();
        let saved: PathBuf = state::file("");
        let answers = lab.check_cases(&cases, WINDOW, &saved);
        let keep = |(case, answer): (&Case, Result<CheckOutput>)| {
            let told = self.judge(plan, case.node, &answer?).with_context(|| case.to_string())?;
            let path = case.evidence_file(&saved);
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let node = &plan.nodes[case.node].name;
            let text = scrub::scrub(&text, &state::file(node)).context("the evidence")?;
            Ok(Recorded { entry: Entry::of(self.name(), node, told), text })
        };
        cases.iter().zip(answers).map(keep).collect()
    }

    /// Code and `subject.key` that a node has to tell, if it did.
    fn judge(
        &self,
        plan: &Plan,
        node: usize,
        answer: &CheckOutput,
    ) -> Result<Option<(String, String)>> {
        let fault = match self {
            Self::Healthy => {
                return healthy::judge(plan, &plan.all_nodes(), node, answer).map(|()| None);
            }
            Self::LooksBroken(look_alike) => {
                return healthy::judge_look_alike(look_alike, plan, node, answer).map(|()| None);
            }
            Self::Broken(fault) => fault,
        };
        let injected = Injected { plan, fault, site: plan.site };
        Ok(match injected.judge(node, Intent::PeersFile, answer)? {
            Said::Nothing => None,
            Said::Itself | Said::Likely => {
                let expected = fault.here(plan, plan.site);
                Some((expected.code.to_owned(), expected.key))
            }
            Said::Lesser => {
                let code = only_finding(answer)?["code"].as_str().context("code")?;
                let end = plan.victim().end(plan.site.family);
                Some((code.to_owned(), end.subnet.to_string()))
            }
        })
    }
}
