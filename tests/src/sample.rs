//! Which cases the suites show: all, or as many as a guest and a change have time for, drawn
//! from a seed.

use std::env;

use anyhow::{Context as _, Result};
use rand::seq::index;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use crate::{
    fault::{self, Fault},
    lookalike::{self, LookAlike},
    plan::Stack,
    size,
};

/// The seed to draw from; without it, all cases.
pub const SEED_VARIABLE: &str = "FLANNEL_TRACER_TEST_SEED";
/// Cases of the suite `smoke` that were shown already, between commas: they are left out.
pub const KNOWN_VARIABLE: &str = "FLANNEL_TRACER_TEST_KNOWN";
/// What the tracer says it can do here.
pub const CAPABILITIES: &str = "capabilities";
/// A lab without fault or look-alike.
pub const HEALTHY: &str = "healthy";
/// Most faults of a sample for a guest: an interpreted one takes up to a minute for each.
pub const OF_GUEST: usize = 4;
/// Most faults of a sample for this kernel: each has a lab of its own here, and is looked at with
/// every intent.
pub const OF_LAB: usize = 10;
/// Most look-alikes of a drawn sample, beside the plain healthy lab.
const LOOK_ALIKES: usize = 2;

/// Cases to show, in the order of their lists.
#[derive(Debug, Clone)]
pub struct Sample {
    /// To be told.
    pub faults: Vec<Fault>,
    /// Not to be told.
    pub look_alikes: Vec<LookAlike>,
    /// A number to draw more from; `None` where everything is to be shown.
    pub seed: Option<u64>,
}

// === impl Sample ===

impl Sample {
    /// Every case.
    #[must_use]
    pub fn all() -> Self {
        Self { faults: fault::all(), look_alikes: lookalike::all(), seed: None }
    }

    /// So many faults at most, and some look-alikes.
    #[must_use]
    pub fn draw(seed: u64, most_faults: usize) -> Self {
        let Self { faults, look_alikes, .. } = Self::all();
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        Self {
            faults: some_of(&faults, most_faults, rng),
            look_alikes: some_of(&look_alikes, LOOK_ALIKES, rng),
            seed: Some(seed),
        }
    }

    /// What the environment asks for: every case, or so many faults at most.
    ///
    /// # Errors
    /// When the seed is no number.
    pub fn of_environment(most_faults: usize) -> Result<Self> {
        match env::var(SEED_VARIABLE) {
            Ok(seed) => {
                let seed = seed.parse().with_context(|| format!("{SEED_VARIABLE}={seed}"))?;
                Ok(Self::draw(seed, most_faults))
            }
            Err(_) => Ok(Self::all()),
        }
    }

    /// Whether the share has a turn: every `most`-th of a list, or all of it.
    #[must_use]
    pub fn has_turn(&self, index: usize, most: usize) -> bool {
        self.seed.is_none_or(|seed| (seed as usize).wrapping_add(index).is_multiple_of(most))
    }

    /// The same in labs of several kinds: all of them, or the one whose turn it is.
    pub fn turn_of<T>(&self, kinds: impl IntoIterator<Item = T>) -> Vec<T> {
        let mut kinds: Vec<T> = kinds.into_iter().collect();
        if let Some(seed) = self.seed.filter(|_| !kinds.is_empty()) {
            let turn = seed as usize % kinds.len();
            kinds = vec![kinds.swap_remove(turn)];
        }
        kinds
    }

    /// The seed of a lab: another one for each sample, and the `fixed` one where everything is shown.
    #[must_use]
    pub fn lab_seed(&self, fixed: u64) -> u64 {
        self.seed.map_or(fixed, |seed| seed.wrapping_add(fixed))
    }

    /// What the labs of this sample speak: mostly IPv4, now and then IPv6 or both.
    #[must_use]
    pub fn stack(&self) -> Stack {
        match self.seed.map(|seed| seed % 4) {
            Some(2) => Stack::V6,
            // Twice the traffic, and twice the programs' work: too much for what is interpreted.
            Some(3) if !size::is_small() => Stack::Dual,
            _ => Stack::V4,
        }
    }

    /// The names of all cells that the suite has to say.
    #[must_use]
    pub fn cases(&self) -> Vec<String> {
        let faults = self.faults.iter().map(|fault| fault.name);
        let look_alikes = self.look_alikes.iter().map(|it| it.name);
        let all = [CAPABILITIES, HEALTHY].into_iter().chain(faults).chain(look_alikes);
        all.map(str::to_owned).collect()
    }
}

/// Whether a case was shown already.
#[must_use]
pub fn is_known(case: &str) -> bool {
    env::var(KNOWN_VARIABLE).is_ok_and(|known| known.split(',').any(|it| it == case))
}

/// As many as an allowance has room for, in an order drawn from a seed: the indices of what they cost.
#[must_use]
pub fn affordable(costs: &[u64], allowance: u64, seed: u64) -> Vec<usize> {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let mut spent = 0;
    let mut chosen = index::sample(rng, costs.len(), costs.len()).into_vec();
    chosen.retain(|index| {
        let fits = spent + costs[*index] <= allowance;
        spent += if fits { costs[*index] } else { 0 };
        fits
    });
    chosen
}

fn some_of<T: Clone>(all: &[T], most: usize, rng: &mut ChaCha8Rng) -> Vec<T> {
    let mut chosen = index::sample(rng, all.len(), most.min(all.len())).into_vec();
    chosen.sort_unstable();
    chosen.into_iter().map(|index| all[index].clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_sample_is_bounded_and_the_same_for_the_same_seed() {
        for seed in 0..50 {
            for most in [OF_GUEST, OF_LAB] {
                let sample = Sample::draw(seed, most);
                assert_eq!(sample.faults.len(), fault::all().len().min(most));
                assert_eq!(sample.look_alikes.len(), LOOK_ALIKES);
                assert_eq!(sample.cases(), Sample::draw(seed, most).cases());
            }
        }
    }

    #[test]
    fn labs_are_the_same_where_everything_is_shown_and_of_each_stack_where_it_is_drawn() {
        let all = Sample::all();
        assert_eq!((all.lab_seed(901), all.stack()), (901, Stack::V4));
        let drawn: Vec<Sample> = (0..20).map(|seed| Sample::draw(seed, 1)).collect();
        let seeds: HashSet<u64> = drawn.iter().map(|it| it.lab_seed(901)).collect();
        assert_eq!(seeds.len(), drawn.len());
        for stack in [Stack::V4, Stack::V6, Stack::Dual] {
            assert!(drawn.iter().any(|it| it.stack() == stack), "{stack:?}");
        }
    }

    #[test]
    fn every_look_alike_is_drawn_sooner_or_later() {
        let cases = |seed| Sample::draw(seed, OF_GUEST).cases();
        let drawn: HashSet<String> = (0..400).flat_map(cases).collect();
        assert!(lookalike::all().iter().all(|it| drawn.contains(it.name)));
    }

    #[test]
    fn no_two_cases_have_the_same_name_and_each_is_one_word() {
        let cases = Sample::all().cases();
        let names: HashSet<&String> = cases.iter().collect();
        assert_eq!(names.len(), cases.len());
        assert!(cases.iter().all(|case| !case.contains(char::is_whitespace)));
    }
}
