//! Of a run that fails, the least that still fails.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::attempt::{Attempt, Fault, Run, simulate};
use super::calm::Calm;
use super::plainer::{WAYS, expecting};
use crate::scenario::Scenario;

/// How many runs it takes at most to shrink one.
pub const MOST_RUNS: u32 = 2_000;

/// Where no plainer scenario fails with the seed, so many seeds after it are tried, too: with a
/// step less, all random choices after it are others.
const OTHER_SEEDS: u64 = 4;

/// The least that still fails.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shrunk {
    /// The scenario; its name, what it is about and its seeds say where it comes from.
    pub scenario: Scenario,
    /// The seed with which it fails.
    pub seed: u64,
    /// What fails, as in the run that was shrunk.
    pub fault: Fault,
    /// How many runs it took.
    pub runs: u32,
    /// Whether nothing plainer fails; false if it was stopped, or took too many runs.
    pub least: bool,
}

/// How far the shrinking of a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shrinking {
    /// So many runs.
    pub runs: u32,
    /// Steps that are left.
    pub steps: usize,
    /// Nodes that are left.
    pub nodes: usize,
}

/// Makes of a scenario that shows `fault` with `seed` the least that still shows it: fewer steps,
/// fewer kinds of faults, fewer nodes, plainer groups, less time. A function of the scenario, the
/// seed and the fault; `None` if it does not fail so. `watch` may stop it after each run.
///
/// What has to come about at the end (complete views, say) is only to be expected of a network that
/// has become calm. So for such a fault no step is left out that ends a trouble, unless what began
/// it is; nor does the calm at the end become shorter.
///
/// ```
/// use std::ops::ControlFlow;
/// use telemetry_gossip_sim::swarm::{Fault, shrink};
/// use telemetry_gossip_sim::{Expectation, Scenario};
///
/// // Nobody can know of a crash at once.
/// let mut scenario = Scenario::named("churn")?;
/// scenario.expect.known_within = Some(std::time::Duration::from_millis(1));
/// let shrunk = shrink(&scenario, 1, Fault::Unmet(Expectation::News), |_| ControlFlow::Continue(())).ok_or("it fails")?;
/// // One of thirty nodes that come and go, and back again, so that all ends well but for that.
/// assert_eq!((shrunk.scenario.steps.len(), shrunk.scenario.nodes, shrunk.least), (2, 2, true));
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

struct Search<'a, W> {
    run: Run<'a>,
    fault: Fault,
    /// What plainer scenarios have to be as calm as.
    calm: Option<Calm>,
    /// Those that do not fail, with their seeds.
    sound: BTreeSet<(String, u64)>,
    runs: u32,
    stopped: bool,
    watch: W,
}

impl<W: FnMut(Shrinking) -> ControlFlow<()>> Search<'_, W> {
    fn fails(&mut self, scenario: &Scenario, seed: u64) -> bool {
        let key = (scenario.to_toml(), seed);
        let fair = self.calm.as_ref().is_none_or(|calm| Calm::of(scenario).is_as_calm_as(calm));
        if self.stopped || !fair || scenario.validate().is_err() || self.sound.contains(&key) {
            return false;
        }
        self.runs += 1;
        let progress =
            Shrinking { runs: self.runs, steps: scenario.steps.len(), nodes: scenario.nodes };
        self.stopped = (self.watch)(progress).is_break() || self.runs >= MOST_RUNS;
        let fails =
            Attempt::new(self.run, scenario, seed, self.fault == Fault::Diverged).shows(self.fault);
        if !fails {
            self.sound.insert(key);
        }
        fails
    }

    /// The first of these that fails, with the seed or one of those after it.
    fn first(&mut self, plainer: &[Scenario], seed: u64) -> Option<(Scenario, u64)> {
        (0..=OTHER_SEEDS).find_map(|more| {
            let seed = seed.wrapping_add(more);
            let place = plainer.iter().position(|scenario| self.fails(scenario, seed))?;
            Some((plainer[place].clone(), seed))
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
    let (sound, calm) = (
        BTreeSet::new(),
        fault.is_about_liveness(scenario.expect.calm_from).then(|| Calm::of(scenario)),
    );
    let mut search = Search { run, fault, calm, sound, runs: 0, stopped: false, watch };
    if !search.fails(scenario, seed) {
        return None;
    }
    let mut now = (expecting(scenario, |plainer| search.fails(plainer, seed)), seed);
    let mut least = false;
    while !least && !search.stopped {
        least = true;
        for plainer in WAYS {
            let ways = |now: &Scenario| {
                plainer(now).into_iter().filter(|plain| plain != now).collect::<Vec<_>>()
            };
            while let Some(found) = search.first(&ways(&now.0), now.1) {
                now = found;
                least = false;
            }
        }
    }
    let (mut plain, last) = now;
    plain.steps.sort_by_key(|step| step.at);
    let about = format!("Shrunk from {} with seed {seed}. What broke: {fault}", scenario.name);
    let name = format!("{}-{seed}", fault.word());
    let scenario = Scenario { name, about, seeds: vec![last], file: None, ..plain };
    Some(Shrunk { scenario, seed: last, fault, runs: search.runs, least: !search.stopped })
}

#[cfg(test)]
mod tests;
