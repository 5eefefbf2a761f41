//! Many runs of `check` on one lab at the same time: nodes × intents × ways to attach.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use anyhow::{Result, anyhow};

use crate::{
    kernel,
    lab::Lab,
    sample::Sample,
    size,
    tracer::{CheckOutput, Intent},
};

/// How many runs of `check` a small machine bears at the same time, its traffic beside.
const AT_ONCE: usize = 18;
/// The same where programs are interpreted: loading them is most of the work.
const AT_ONCE_SMALL: usize = 4;

/// How the tracer attaches its programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attach {
    /// TCX links.
    Tcx,
    /// Filters of a clsact qdisc.
    Clsact,
}

/// One run of `check`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// The node it looks at.
    pub node: usize,
    /// What it is told.
    pub intent: Intent,
    /// How it attaches.
    pub attach: Attach,
}

// === impl Attach ===

impl Attach {
    /// Both ways.
    pub const ALL: [Self; 2] = [Self::Tcx, Self::Clsact];

    /// The ways that this kernel has, the preferred one first. TCX came with Linux 6.6.
    #[must_use]
    pub fn on_this_kernel() -> &'static [Self] {
        if kernel::is_before((6, 6)) { &Self::ALL[1..] } else { &Self::ALL }
    }

    /// The word for the option `--attach`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

// === impl Case ===

impl Case {
    /// Every intent with every way to attach that this kernel has, on each of `nodes`.
    #[must_use]
    pub fn all(nodes: &[usize]) -> Vec<Self> {
        let mut cases = Vec::new();
        for node in nodes {
            for intent in Intent::ALL {
                let ways = Attach::on_this_kernel().iter();
                cases.extend(ways.map(|attach| Self { node: *node, intent, attach: *attach }));
            }
        }
        cases
    }

    /// Every intent with every way to attach; where programs are interpreted, every intent by the
    /// preferred way.
    #[must_use]
    pub fn affordable(nodes: &[usize]) -> Vec<Self> {
        let mut cases = Self::all(nodes);
        let preferred = Attach::on_this_kernel().first().copied();
        cases.retain(|case| !size::is_small() || Some(case.attach) == preferred);
        cases
    }

    /// What a lab of a fault is looked at with: as much as is affordable where everything is shown,
    /// else what [`Case::most`] says.
    #[must_use]
    pub fn of_share(nodes: &[usize], share: &Sample) -> Vec<Self> {
        let is_whole = share.seed.is_none() || size::is_small();
        if is_whole { Self::affordable(nodes) } else { Self::most(nodes) }
    }

    /// Every intent by the preferred way, and flannel's own by clsact, on each of `nodes`.
    #[must_use]
    pub fn most(nodes: &[usize]) -> Vec<Self> {
        let mut cases = Self::all(nodes);
        let preferred = Attach::on_this_kernel().first().copied();
        cases.retain(|case| Some(case.attach) == preferred || case.intent == Intent::SubnetEnv);
        cases
    }

    /// Where the evidence of this run is saved below a folder.
    #[must_use]
    pub fn evidence_file(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{self}.json").replace(' ', "-"))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{} {} {}", self.node + 1, self.intent.name(), self.attach.name())
    }
}

// === impl Lab ===

impl Lab {
    /// Runs `check` for all `cases`, [`at_once`] at a time, each for `duration` and with its
    /// evidence saved in `folder`. The answers come in the order of the cases.
    pub fn check_cases(
        &self,
        cases: &[Case],
        duration: &str,
        folder: &Path,
    ) -> Vec<Result<CheckOutput>> {
        self.check_cases_with(cases, &["--duration", duration], folder)
    }

    /// The same with more options than the duration.
    pub fn check_cases_with(
        &self,
        cases: &[Case],
        options: &[&str],
        folder: &Path,
    ) -> Vec<Result<CheckOutput>> {
        in_parallel(cases, at_once(), |case| self.check_case_with(case, options, folder))
    }

    /// Runs `check` for one case, for `duration` and with its evidence saved in `folder`.
    ///
    /// # Errors
    /// When it gives no answer.
    pub fn check_case(&self, case: &Case, duration: &str, folder: &Path) -> Result<CheckOutput> {
        self.check_case_with(case, &["--duration", duration], folder)
    }

    fn check_case_with(&self, case: &Case, options: &[&str], folder: &Path) -> Result<CheckOutput> {
        let file = case.evidence_file(folder);
        let file = file.to_str().ok_or_else(|| anyhow!("{} is no text", file.display()))?;
        let attach = case.attach.name();
        let extra = [options, &["--attach", attach, "--save", file]].concat();
        self.check(case.node, case.intent, &extra)
    }
}

/// How many runs of `check` this machine bears at the same time.
#[must_use]
pub fn at_once() -> usize {
    size::of(AT_ONCE, AT_ONCE_SMALL)
}

/// Applies `work` to all `items`, at most `at_once` at a time; the results come in their order.
pub fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    at_once: usize,
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Vec<Result<R>> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return done };
            done.push((index, work(item)));
        }
    };
    let mut results: Vec<Option<Result<R>>> = items.iter().map(|_| None).collect();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once.min(items.len())).map(|_| scope.spawn(worker)).collect();
        for (index, result) in workers.into_iter().filter_map(|it| it.join().ok()).flatten() {
            results[index] = Some(result);
        }
    });
    results.into_iter().map(|it| it.unwrap_or_else(|| Err(anyhow!("a run panicked")))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn results_come_in_order_and_no_more_than_allowed_run_at_once() {
        let running = AtomicUsize::new(0);
        let items: Vec<usize> = (0..50).collect();
        let results = in_parallel(&items, 3, |item| {
            anyhow::ensure!(running.fetch_add(1, Ordering::SeqCst) < 3, "too many");
            thread::yield_now();
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(item * 2)
        });
        let results: Vec<usize> = results.into_iter().map(Result::unwrap).collect();
        assert_eq!(results, items.iter().map(|item| item * 2).collect::<Vec<_>>());
    }

    #[test]
    fn every_case_has_a_file_of_its_own() {
        let cases = Case::all(&[0, 1, 2]);
        let files: HashSet<PathBuf> =
            cases.iter().map(|case| case.evidence_file(Path::new("/x"))).collect();
        assert_eq!(cases.len(), files.len());
        assert_eq!(cases.len(), 9 * Attach::on_this_kernel().len());
    }
}
