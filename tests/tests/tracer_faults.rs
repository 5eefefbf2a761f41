//! Every fault, asserted on the node that has it and on every other: the right finding there, and
//! nothing else anywhere, with every intent and every way to attach. The tracer starts after the
//! fault. Every change plays a share of the faults, drawn from a seed, in one lab each; `cargo xtask
//! test --all` plays all of them in three: of IPv4, of IPv6 and of both. What it saved is judged again
//! without privileges and must give the same answer.
//!
//! Less intent may give less, never something else. Of most faults none gives less: the tables
//! of the node alone prove them, and a missing route has the neighbour and FDB entry that are left
//! over as its sign of life. Those that need to know the peers' nodes say what they give without.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    env,
    fs::{self, Permissions},
    io::{self, Write as _},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tracer_tests::{
    expect::{Injected, Said},
    fault::{self, Fault},
    lab::{LOCK_WAIT, Lab},
    loss::{self, Loss},
    matrix::{Attach, Case, at_once, in_parallel},
    plan::{Family, Plan, Site, Stack},
    published::publish,
    sample::{OF_LAB, Sample},
    seed::Shape,
    shown::Shown,
    size,
    tracer::{CheckOutput, Intent, binary},
};

/// How long each check looks.
const WINDOW: &str = "3s";
/// The same where programs are interpreted and packets are fewer.
const LONG_WINDOW: &str = "5s";
/// Only faults whose names hold the text of this variable, for whoever works on one of them.
const ONLY: &str = "FLANNEL_TRACER_TEST_FAULT";
/// The user `nobody`, who may nothing.
const NOBODY: u32 = 65534;

/// The stacks that labs are of, in turn.
const STACKS: [Stack; 3] = [Stack::V4, Stack::V6, Stack::Dual];

/// This suite, where it leaves what it showed.
const SUITE: &str = "tracer_faults";

/// The columns of the page, which are those stacks.
const PAGE_HEAD: &str = "| fault | IPv4 | IPv6 | dual stack |\n| --- | --- | --- | --- |\n";

/// A lab to play a fault in.
#[derive(Debug, Clone, Copy)]
struct Kind {
    seed: u64,
    nodes: usize,
    stack: Stack,
}

/// What the page says of a lab.
struct Cell {
    fault: &'static str,
    stack: Stack,
    words: String,
}

/// The verdicts on one lab, in the order of its cases.
struct Verdicts {
    fault: &'static str,
    /// Its seed, its stack, and the family that is struck.
    lab: String,
    verdicts: Vec<(Case, Result<Said>)>,
    /// Where the packets were lost.
    loss: Loss,
}

/// A place that everybody may read, with a copy of the tracer that everybody may run.
struct PublicFolder {
    folder: TempDir,
    tracer: PathBuf,
}

#[test]
fn every_fault_is_told_where_it_is_and_nothing_else_anywhere() {
    let public = PublicFolder::new();
    let only = env::var(ONLY).unwrap_or_default();
    let share = Sample::of_environment(OF_LAB).unwrap();
    let mut shown = Shown::of_environment(SUITE).unwrap();
    let (mut all, mut cells) = (Vec::new(), Vec::new());
    for (number, fault) in fault::all().iter().enumerate() {
        let is_drawn = share.faults.iter().any(|it| it.name == fault.name);
        if !is_drawn || !fault.name.contains(&only) {
            continue;
        }
        for kind in labs_of_share(number as u64, fault, &share) {
            let case = kind.case(fault);
            let known = shown.words(&case).map(str::to_owned);
            let words = known.unwrap_or_else(|| {
                let verdicts = play(fault, &kind, &share, &public);
                let words = verdicts.cell();
                say(&format!("{}, {}: {} wrong\n", fault.name, verdicts.lab, verdicts.wrong()));
                if verdicts.wrong() == 0 {
                    shown.keep(case, words.clone()).unwrap();
                }
                all.push(verdicts);
                words
            });
            cells.push(Cell { fault: fault.name, stack: kind.stack_for(fault), words });
        }
    }
    assert!(!cells.is_empty(), "no fault is called {only}");
    say(&format!("\n{}", all.iter().map(Verdicts::table).collect::<String>()));
    let losses: Vec<Loss> = all.iter().map(|it| it.loss.clone()).collect();
    say(&format!("\nfault, last stage, reason, function, told as:\n{}", loss::table(&losses)));
    publish(SUITE, &page(&cells));
    let wrong: String = all.iter().map(Verdicts::complaints).collect();
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// The labs to play a fault in: all of them, or one where that is all there is time for.
fn labs_of_share(number: u64, fault: &Fault, share: &Sample) -> Vec<Kind> {
    let labs = labs(number, fault);
    let turn = share.seed.or(size::is_small().then_some(number));
    let drawn = turn.map(|turn| labs[turn as usize % labs.len()]);
    drawn.map_or_else(|| labs.to_vec(), |lab| vec![lab])
}

/// Other labs for each fault: two of three nodes, and one of two, five or one; each of another
/// stack.
fn labs(number: u64, fault: &Fault) -> [Kind; 3] {
    let nodes = match number % 3 {
        0 if fault.alone => 1,
        1 => 5,
        _ => fault.nodes.max(2),
    };
    let stack = |place: u64| STACKS[((number + place) % 3) as usize];
    [3, 3, nodes]
        .into_iter()
        .zip(0..)
        .map(|(nodes, place)| Kind { seed: 100 * (place + 1) + number, nodes, stack: stack(place) })
        .collect::<Vec<_>>()
        .try_into()
        .unwrap()
}

/// Injects a fault into a new lab and checks all nodes in all ways at the same time.
fn play(fault: &Fault, kind: &Kind, share: &Sample, public: &PublicFolder) -> Verdicts {
    let stack = kind.stack_for(fault);
    let shape = Shape { nodes: Some(kind.nodes), stack, ..Shape::default() };
    let mut plan = Plan::draw(kind.seed, &shape);
    if !fault.suits(plan.site) {
        plan.site.family = Family::V4;
    }
    let lab = Lab::up(plan, LOCK_WAIT).unwrap();
    let (plan, site) = (lab.plan(), lab.plan().site);
    let _traffic = lab.traffic_all_pairs();
    let _injection = lab.inject(fault, site).unwrap();
    let cases = Case::of_share(&plan.all_nodes(), share);
    let answers = lab.check_cases(&cases, size::of(WINDOW, LONG_WINDOW), public.folder.path());
    let again = in_parallel(&cases, at_once(), |case| public.judge_saved(case));
    let loss = loss_of(fault, site, &cases, &answers);
    let injected = Injected { plan, fault, site };
    let judge = |(case, (answer, again)): (Case, (Result<CheckOutput>, Result<CheckOutput>))| {
        let verdict = answer.and_then(|answer| {
            let said = injected.judge(case.node, case.intent, &answer)?;
            says_the_same(&answer, &again?)?;
            Ok(said)
        });
        (case, verdict)
    };
    let verdicts = cases.into_iter().zip(answers.into_iter().zip(again)).map(judge).collect();
    let lab = format!("seed {} {stack:?}, {}", kind.seed, site.family.name());
    Verdicts { fault: fault.name, lab, verdicts, loss }
}

/// Where the packets of a fault were lost, as the nodes of its site tell it with every intent.
fn loss_of(fault: &Fault, site: Site, cases: &[Case], answers: &[Result<CheckOutput>]) -> Loss {
    let of = |node: usize| {
        let own = cases.iter().zip(answers).filter(move |(case, _)| case.node == node);
        own.filter_map(|(_, answer)| Some(&answer.as_ref().ok()?.json))
    };
    let answers: Vec<&Value> = [site.victim, site.peer].into_iter().flat_map(of).collect();
    Loss::of(fault.name, fault.code, &answers)
}

fn says_the_same(live: &CheckOutput, saved: &CheckOutput) -> Result<()> {
    ensure!(live.status == saved.status, "exit {}, from saved {}", live.status, saved.status);
    let (live, saved) = (&live.json, &saved.json);
    for (key, value) in live.as_object().into_iter().flatten() {
        ensure!(saved[key] == *value, "{key} from saved evidence: {} not {value}", saved[key]);
    }
    Ok(())
}

/// A line for each fault and a column for each stack, in Markdown: how many checks were right, and in
/// what lab.
fn page(cells: &[Cell]) -> String {
    let mut faults: Vec<&str> = cells.iter().map(|it| it.fault).collect();
    faults.dedup();
    let line = |fault: &str| {
        let words = |stack: &Stack| {
            let of_cell = |it: &&Cell| it.fault == fault && it.stack == *stack;
            cells.iter().filter(of_cell).map(|it| &*it.words).collect::<Vec<_>>().join(", ")
        };
        format!("| {fault} | {} |\n", STACKS.iter().map(words).collect::<Vec<_>>().join(" | "))
    };
    let lines: String = faults.into_iter().map(line).collect();
    format!("{PAGE_HEAD}{lines}")
}

/// Past the capture of the test harness: these lines are for the reader of a passing run too.
fn say(text: &str) {
    io::stderr().write_all(text.as_bytes()).unwrap();
}

// === impl Kind ===

impl Kind {
    /// What IPv4 alone can have is played beside a healthy IPv6 too.
    fn stack_for(&self, fault: &Fault) -> Stack {
        let has_ipv6 = fault.families.contains(&Family::V6);
        if self.stack == Stack::V6 && !has_ipv6 { Stack::Dual } else { self.stack }
    }

    /// The name of a fault in this lab.
    fn case(&self, fault: &Fault) -> String {
        format!("{} seed {} nodes {} {:?}", fault.name, self.seed, self.nodes, self.stack)
    }
}

// === impl PublicFolder ===

impl PublicFolder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let tracer = folder.path().join("flannel-tracer");
        fs::copy(binary().unwrap(), &tracer).unwrap();
        Self { folder, tracer }
    }

    /// Runs `check --from` as nobody.
    fn judge_saved(&self, case: &Case) -> Result<CheckOutput> {
        let evidence = case.evidence_file(self.folder.path());
        make_public(&evidence)?;
        let output = Command::new(&self.tracer)
            .args(["check", "--format", "json", "--from"])
            .arg(&evidence)
            .uid(NOBODY)
            .gid(NOBODY)
            .output()?;
        CheckOutput::of(&output)
    }
}

fn make_public(path: &Path) -> Result<()> {
    Ok(fs::set_permissions(path, Permissions::from_mode(0o644))?)
}

// === impl Verdicts ===

impl Verdicts {
    /// A line for each intent and each way to attach: what each node was right to say.
    fn table(&self) -> String {
        let passes = Intent::ALL.into_iter().flat_map(|it| Attach::ALL.map(|attach| (it, attach)));
        let was_run = |(intent, attach): &(Intent, Attach)| {
            self.verdicts.iter().any(|(it, _)| (it.intent, it.attach) == (*intent, *attach))
        };
        passes.filter(was_run).map(|(intent, attach)| self.line(intent, attach)).collect()
    }

    fn line(&self, intent: Intent, attach: Attach) -> String {
        let is_of_pass = |case: &Case| case.intent == intent && case.attach == attach;
        let words: Vec<String> = self
            .verdicts
            .iter()
            .filter(|(case, _)| is_of_pass(case))
            .map(|(case, verdict)| match verdict {
                Ok(said) => format!("n{} {said:<8}", case.node + 1),
                Err(_) => format!("n{} WRONG   ", case.node + 1),
            })
            .collect();
        let (fault, lab, words) = (self.fault, &self.lab, words.concat());
        let (intent, attach) = (intent.name(), attach.name());
        format!("{fault:<33} {lab:<20} {intent:<10} {attach:<6}  {}\n", words.trim_end())
    }

    /// How many checks were right, on how many nodes.
    fn cell(&self) -> String {
        let nodes = self.verdicts.iter().map(|(case, _)| case.node + 1).max().unwrap_or(0);
        let (wrong, all) = (self.wrong(), self.verdicts.len());
        match wrong {
            0 => format!("{all} right ({nodes} nodes)"),
            _ => format!("{wrong} of {all} WRONG ({nodes} nodes)"),
        }
    }

    fn wrong(&self) -> usize {
        self.verdicts.iter().filter(|(_, verdict)| verdict.is_err()).count()
    }

    fn complaints(&self) -> String {
        let wrong = self.verdicts.iter().filter_map(|(case, verdict)| {
            let error = verdict.as_ref().err()?;
            Some(format!("{}, {}, {case}: {error:#}\n", self.fault, self.lab))
        });
        wrong.collect()
    }
}
