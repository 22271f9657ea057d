//! Shrinks a failing run to the smallest scenario that still fails.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::attempt::{Attempt, Fault, Run, simulate};
use crate::scenario::Scenario;

mod candidates;
mod quiescence;

use candidates::{REDUCTIONS, with_fewest_expectations};
use quiescence::Quiescence;

/// The most runs that are spent to shrink one run.
pub const MAX_RUNS: u32 = 2_000;

/// The number of following seeds that are tried when no smaller scenario fails with the seed
/// itself. Without a step, all later random choices are different, so another seed may fail.
const OTHER_SEEDS: u64 = 4;

/// A shrunk scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Shrunk {
    /// The scenario. Its name, description and seeds tell where it comes from.
    pub scenario: Scenario,
    /// The seed with which it fails.
    pub seed: u64,
    /// The fault, which is that of the original run.
    pub fault: Fault,
    /// The number of runs that were needed.
    pub runs: u32,
    /// Whether no smaller scenario fails; false if shrinking was stopped or took too many runs.
    pub least: bool,
}

/// The progress of shrinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Shrinking {
    /// The number of runs so far.
    pub runs: u32,
    /// The number of steps that are left.
    pub steps: usize,
    /// The number of nodes that are left.
    pub nodes: usize,
}

/// Shrinks a scenario that shows `fault` with `seed` to the smallest one that still shows it: with
/// fewer steps, fewer kinds of faults, fewer nodes, smaller groups, and less time.
///
/// The result is a function of the scenario, the seed and the fault; it is `None` if the run does
/// not show the fault. `watch` is called after each run, and may stop the search.
///
/// Liveness, such as complete views at the end, can be expected only of a network that has become
/// calm. For such a fault, a step that ends a disturbance is removed only together with the step
/// that began it, and the calm phase at the end does not become shorter.
///
/// ```
/// use std::ops::ControlFlow;
/// use telemetry_gossip_sim::swarm::{Fault, shrink};
/// use telemetry_gossip_sim::{Expectation, Scenario};
///
/// // An expectation that no cluster can meet.
/// let mut scenario = Scenario::named("churn")?;
/// scenario.expect.known_within = Some(std::time::Duration::from_millis(1));
/// let fault = Fault::Unmet(Expectation::News);
/// let shrunk = shrink(&scenario, 1, fault, |_| ControlFlow::Continue(())).ok_or("no failure")?;
/// // Of thirty nodes that crash and return, a few are left, one of which crashes or returns.
/// assert!(shrunk.scenario.steps.len() <= 2 && shrunk.scenario.nodes <= 8 && shrunk.least);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn shrink(
    scenario: &Scenario,
    seed: u64,
    fault: Fault,
    watch: impl FnMut(Shrinking) -> ControlFlow<()>,
) -> Option<Shrunk> {
    shrink_by(&simulate, scenario, seed, fault, watch)
}

/// The state of the search.
struct Search<'a, W> {
    run: Run<'a>,
    fault: Fault,
    /// The quiescence that smaller scenarios must keep, if the fault is about liveness.
    quiescence: Option<Quiescence>,
    /// Scenarios that do not fail, with their seeds.
    sound: BTreeSet<(String, u64)>,
    runs: u32,
    stopped: bool,
    watch: W,
}

impl<W: FnMut(Shrinking) -> ControlFlow<()>> Search<'_, W> {
    fn fails(&mut self, scenario: &Scenario, seed: u64) -> bool {
        let key = (scenario.to_toml(), seed);
        let fair = self
            .quiescence
            .as_ref()
            .is_none_or(|required| Quiescence::of(scenario).is_at_least(required));
        if self.stopped || !fair || scenario.validate().is_err() || self.sound.contains(&key) {
            return false;
        }
        self.runs += 1;
        let progress =
            Shrinking { runs: self.runs, steps: scenario.steps.len(), nodes: scenario.nodes };
        self.stopped = (self.watch)(progress).is_break() || self.runs >= MAX_RUNS;
        let fails =
            Attempt::new(self.run, scenario, seed, self.fault == Fault::Diverged).shows(self.fault);
        if !fails {
            self.sound.insert(key);
        }
        fails
    }

    /// The first candidate that fails, with the seed or one of the following seeds.
    fn first(&mut self, candidates: &[Scenario], seed: u64) -> Option<(Scenario, u64)> {
        (0..=OTHER_SEEDS).find_map(|more| {
            let seed = seed.wrapping_add(more);
            let place = candidates.iter().position(|scenario| self.fails(scenario, seed))?;
            Some((candidates[place].clone(), seed))
        })
    }
}

fn shrink_by(
    run: Run<'_>,
    scenario: &Scenario,
    seed: u64,
    fault: Fault,
    watch: impl FnMut(Shrinking) -> ControlFlow<()>,
) -> Option<Shrunk> {
    let live = fault.is_about_liveness(scenario.expect.calm_from);
    let quiescence = live.then(|| Quiescence::of(scenario));
    let sound = BTreeSet::new();
    let mut search = Search { run, fault, quiescence, sound, runs: 0, stopped: false, watch };
    if !search.fails(scenario, seed) {
        return None;
    }
    let fewest = with_fewest_expectations(scenario, |candidate| search.fails(candidate, seed));
    let mut now = (fewest, seed);
    let mut least = false;
    // A reduction may become possible by a later one, so all of them are repeated until none
    // succeeds.
    while !least && !search.stopped {
        least = true;
        for reduce in REDUCTIONS {
            let candidates = |now: &Scenario| {
                reduce(now).into_iter().filter(|candidate| candidate != now).collect::<Vec<_>>()
            };
            while let Some(found) = search.first(&candidates(&now.0), now.1) {
                now = found;
                least = false;
            }
        }
    }
    let (mut smallest, last) = now;
    smallest.steps.sort_by_key(|step| step.at);
    let about = format!("Shrunk from {} with seed {seed}. Broken: {fault}", scenario.name);
    let name = format!("{}-{seed}", fault.word());
    let scenario = Scenario { name, about, seeds: vec![last], file: None, ..smallest };
    Some(Shrunk { scenario, seed: last, fault, runs: search.runs, least: !search.stopped })
}

#[cfg(test)]
mod tests;
