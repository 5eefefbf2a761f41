//! Healthy checks by the hundred: in one lab after the other, steady, busy, or with what looks like
//! a fault, on all nodes with every intent and every way to attach.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    healthy,
    lab::{LOCK_WAIT, Lab},
    lookalike::{self, LookAlike},
    matrix::{self, Case, in_parallel},
    plan::{Plan, Stack},
    seed::Shape,
    size,
    tracer::CheckOutput,
    traffic::{self, Traffic},
};

/// What labs speak, in turn.
const STACKS: [Stack; 3] = [Stack::Dual, Stack::V6, Stack::V4];
/// How many checks at the same time a busy lab bears: what the machine itself drops is lost.
const AT_ONCE_BUSY: usize = 6;
/// How many labs the checks are spread over, unless they are few.
const LABS: usize = 16;
/// The fewest checks in a lab.
const CHECKS: usize = 18;
/// How many tracers a node bears at the same time: the kernel has room for 16 filters of theirs.
const AT_ONCE_A_NODE: usize = 6;
/// What a node of the busy pair sends in the shortest window, or it was not busy.
const BUSY: u64 = 1_000;
/// The same where programs are interpreted.
const BUSY_SMALL: u64 = 100;

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Soak<'a> {
    /// How many checks.
    pub checks: usize,
    /// What the first lab is drawn from; the next ones count up.
    pub seed: u64,
    /// How long each check looks, at least a second.
    pub window: &'a str,
    /// Where the evidence of a wrong answer is left.
    pub folder: &'a Path,
}

/// What came of one lab.
#[derive(Debug)]
pub struct Lot {
    /// What the lab was drawn from.
    pub seed: u64,
    /// What it was like.
    pub scene: String,
    /// How many nodes it had.
    pub nodes: usize,
    /// How many checks ran in it.
    pub checks: usize,
    /// How long the checks took.
    pub took: Duration,
    /// A line for each answer that is wrong, with the file of its evidence.
    pub wrong: Vec<String>,
}

/// What a lab is like.
enum Scene {
    Steady,
    Busy,
    LookAlike(LookAlike),
}

impl Soak<'_> {
    /// Runs all checks, and shows each lot as soon as it is done. The number of wrong answers.
    ///
    /// # Errors
    /// When a lab cannot be built.
    pub fn run(&self, mut show: impl FnMut(&Lot)) -> Result<usize> {
        let (mut done, mut wrong) = (0, 0);
        for number in 0.. {
            if done >= self.checks {
                break;
            }
            let lot = self.lot(number, self.checks - done)?;
            done += lot.checks;
            wrong += lot.wrong.len();
            show(&lot);
        }
        Ok(wrong)
    }

    /// The checks of a lab, each with a folder of its own. They are enough that not most of the
    /// time goes into building labs, and few enough that many labs are seen.
    fn checks(&self, plan: &Plan, members: &[usize], most: usize) -> Vec<(Case, PathBuf)> {
        let number = most.min(CHECKS.max(self.checks / LABS));
        let cases = Case::all(members).into_iter().cycle().take(number).enumerate();
        let folder = |number| self.folder.join(format!("lab-{}-{number}", plan.seed));
        cases.map(|(number, case)| (case, folder(number))).collect()
    }

    /// One lab and at most so many checks.
    fn lot(&self, number: u64, most: usize) -> Result<Lot> {
        let (seed, scene) = (self.seed + number, Scene::of(number));
        let lab = Lab::up(Plan::draw(seed, &scene.shape(number)), LOCK_WAIT)?;
        let begin = Instant::now();
        let plan = lab.plan();
        let members = scene.members(plan);
        let _traffic = [scene.own_traffic(&lab)?, lab.traffic_among(&members)];
        let checks = self.checks(plan, &members, most);
        let at_once = scene.at_once().min(AT_ONCE_A_NODE * members.len());
        let answers = in_parallel(&checks, at_once, |(case, folder)| {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            let answer = lab.check_case(case, self.window, folder)?;
            scene.judge(plan, case.node, &answer)
        });
        let wrong = checks.iter().zip(answers).filter_map(|((case, folder), answer)| {
            keep_if_wrong(answer, folder).map(|complaint| format!("{case}: {complaint}"))
        });
        let wrong = wrong.collect();
        let (nodes, took) = (plan.nodes.len(), begin.elapsed());
        Ok(Lot { seed, scene: scene.to_string(), nodes, checks: checks.len(), took, wrong })
    }
}

/// Leaves the evidence of a wrong answer where it is, and says so.
fn keep_if_wrong(answer: Result<()>, folder: &Path) -> Option<String> {
    match answer {
        Ok(()) => {
            // Saved evidence of a right answer is of no use to anybody.
            let _ = fs::remove_dir_all(folder);
            None
        }
        Err(error) => Some(format!("{error:#}; evidence: {}", folder.display())),
    }
}

// === impl Scene ===

impl Scene {
    /// Half of the labs look like a fault; all look-alikes come in turn.
    fn of(number: u64) -> Self {
        let look_alikes = lookalike::all();
        match number % 4 {
            0 => Self::Steady,
            2 => Self::Busy,
            _ => Self::LookAlike(look_alikes[number as usize / 2 % look_alikes.len()]),
        }
    }

    /// Look-alikes say what their labs speak; the others speak IPv4, IPv6 and both in turn.
    fn shape(&self, number: u64) -> Shape {
        let stack = STACKS[(number / 2 % 3) as usize];
        match self {
            Self::LookAlike(look_alike) => (look_alike.shape)(),
            Self::Steady | Self::Busy => Shape { min_nodes: 2, stack, ..Shape::default() },
        }
    }

    fn members(&self, plan: &Plan) -> Vec<usize> {
        match self {
            Self::LookAlike(look_alike) => (look_alike.members)(plan),
            Self::Steady | Self::Busy => plan.all_nodes(),
        }
    }

    fn at_once(&self) -> usize {
        match self {
            Self::Busy => AT_ONCE_BUSY.min(matrix::at_once()),
            Self::Steady | Self::LookAlike(_) => matrix::at_once(),
        }
    }

    /// What is sent besides the steady traffic between all members.
    fn own_traffic(&self, lab: &Lab) -> Result<Traffic> {
        match self {
            Self::Steady => Ok(Traffic::start(Vec::new())),
            Self::LookAlike(look_alike) => lab.set_up(look_alike),
            Self::Busy => {
                let mut load = traffic::load(lab.plan());
                for sender in &mut load {
                    sender.limits.rate *= size::of(1.0, 0.1);
                }
                Ok(Traffic::start(load))
            }
        }
    }

    fn judge(&self, plan: &Plan, node: usize, answer: &CheckOutput) -> Result<()> {
        if let Self::LookAlike(look_alike) = self {
            return healthy::judge_look_alike(look_alike, plan, node, answer);
        }
        healthy::judge(plan, &plan.all_nodes(), node, answer)?;
        let is_busy =
            matches!(self, Self::Busy) && [plan.site.victim, plan.site.peer].contains(&node);
        let sent = answer.json["stages"]["wire_out"]["packets"].as_u64().unwrap_or(0);
        ensure!(!is_busy || sent > size::of(BUSY, BUSY_SMALL), "only {sent} packets: no load");
        Ok(())
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Steady => "steady",
            Self::Busy => "busy",
            Self::LookAlike(look_alike) => look_alike.name,
        })
    }
}

// === impl Lot ===

impl fmt::Display for Lot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, scene, nodes, checks, took, wrong } = self;
        let verdict = if wrong.is_empty() { "no finding" } else { "WRONG" };
        write!(f, "lab {seed}, {scene}, {nodes} nodes, {checks} checks in {took:.1?}: {verdict}")?;
        wrong.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_look_alike_comes_in_turn_and_half_of_the_labs_are_plain() {
        let labs = 4 * lookalike::all().len() as u64;
        let scenes: Vec<String> = (0..labs).map(|number| Scene::of(number).to_string()).collect();
        let names: HashSet<&str> = scenes.iter().map(String::as_str).collect();
        assert!(lookalike::all().iter().all(|it| names.contains(it.name)), "{names:?}");
        let plain = scenes.iter().filter(|it| ["steady", "busy"].contains(&it.as_str()));
        assert_eq!(plain.count() as u64, labs / 2);
    }

    #[test]
    fn the_evidence_of_a_wrong_answer_stays_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["right", "wrong"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("evidence.json"), "{}").unwrap();
        }
        assert_eq!(keep_if_wrong(Ok(()), &path("right")), None);
        let complaint = keep_if_wrong(Err(anyhow::anyhow!("finds x")), &path("wrong")).unwrap();
        assert!(complaint.contains("finds x") && complaint.contains("/wrong"), "{complaint}");
        assert!(!path("right").exists() && path("wrong/evidence.json").exists());
    }
}
