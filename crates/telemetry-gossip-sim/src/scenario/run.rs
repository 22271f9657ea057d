//! Runs a scenario: `(scenario, seed) -> report`.
//!
//! The driver performs the steps at their times and lets virtual time pass between them. `judge`
//! makes the report.

use std::borrow::Cow;
use std::time::Duration;

use telemetry_gossip_core::{Input, Label};
use telemetry_gossip_seal::{Key, Keyring};

use super::judge::{self, Marks};
use super::perform::command;
use super::{Load, Overrides, Scenario, ScenarioError, Start};
use crate::checker::Checking;
use crate::cluster::{Cluster, node_id};
use crate::process::Spawn;
use crate::report::Report;
use crate::rng::micros;
use crate::setters::setters;
use crate::simulation::{Settings, Simulation};
use crate::trace::Moment;

/// Options of a run. They do not influence what happens in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// How much is checked.
    pub checking: Checking,
}

setters! {
    Options {
        checking: Checking,
    }
}

/// The progress of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Virtual time since the start.
    pub at: Duration,
    /// Virtual time of the whole run.
    pub of: Duration,
}

/// Virtual time between two calls of the progress callback, and between two checks whether all
/// views are complete.
const SLICE: Duration = Duration::from_millis(20);

/// Runs a scenario to its end.
pub fn run(scenario: &Scenario, seed: u64) -> Result<Report, ScenarioError> {
    run_with(scenario, seed, Options::default(), |_| {})
}

/// Runs a scenario to its end with [`Options`], and calls `progress` from time to time.
pub fn run_with(
    scenario: &Scenario,
    seed: u64,
    options: Options,
    mut progress: impl FnMut(Progress),
) -> Result<Report, ScenarioError> {
    scenario.validate()?;
    let mut cluster = start(scenario, seed, options)?;
    Ok(drive(scenario, &mut cluster, &mut progress))
}

/// Runs a scenario and returns its trace beside the report.
pub(crate) fn run_traced(
    scenario: &Scenario,
    seed: u64,
) -> Result<(Report, Vec<Moment>), ScenarioError> {
    scenario.validate()?;
    let mut cluster = start(scenario, seed, Options::default())?;
    cluster.simulation_mut().keep_trace();
    let report = drive(scenario, &mut cluster, &mut |_| {});
    Ok((report, cluster.simulation_mut().kept_trace()))
}

fn drive(scenario: &Scenario, cluster: &mut Cluster, progress: &mut dyn FnMut(Progress)) -> Report {
    let mut steps: Vec<_> = scenario.steps.iter().collect();
    steps.sort_by_key(|step| step.at);
    let mut steps = steps.into_iter().peekable();
    let mut load = scenario.telemetry.map(Publisher::new);
    let (mut done, mut idle) = (Vec::new(), Vec::new());
    let (mut look, mut marks) = (Duration::ZERO, Marks::default());
    loop {
        let now = cluster.now();
        if now >= look {
            progress(Progress { at: now, of: scenario.duration });
            if marks.joined_after.is_none() && cluster.views_complete_and_alive() {
                marks.joined_after = Some(now);
            }
            look = now + SLICE;
        }
        marks.read(scenario, cluster);
        // Values are read before the steps of this time, so that a crash at the beginning of the
        // calm phase belongs to that phase.
        while let Some(step) = steps.next_if(|step| step.at <= now) {
            let steps = if step.operation.perform(cluster) { &mut done } else { &mut idle };
            steps.push(step);
        }
        if let Some(load) = &mut load {
            load.publish(cluster);
        }
        if now >= scenario.duration {
            break;
        }
        let next =
            [steps.peek().map(|step| step.at), load.as_ref().map(|load| load.next), Some(look)];
        let next = next.into_iter().flatten().min().unwrap_or(look).min(scenario.duration);
        cluster.simulation_mut().run_to(up_to_micros(next));
    }
    judge::report(scenario, cluster, marks, &done, &idle)
}

/// Starts the nodes of a scenario.
fn start(scenario: &Scenario, seed: u64, options: Options) -> Result<Cluster, ScenarioError> {
    let settings = Settings {
        nodes: 0,
        config: scenario.config.config(),
        other_configs: scenario.other_configs.iter().map(Overrides::config).collect(),
        sealing: scenario
            .sealed
            .then(|| Keyring::new(Label::of(&scenario.name), Key::new([1; 32]))),
        network: scenario.network,
        seed,
        checking: options.checking,
        keep_events: false,
    };
    let mut cluster = Cluster::from(Simulation::new(&settings)?);
    for index in 0..scenario.nodes {
        let clock_ppm = drift(scenario.clock_drift_ppm, index, scenario.nodes);
        cluster.simulation_mut().spawn(Spawn { clock_ppm, ..Spawn::new(node_id(index)) })?;
    }
    match scenario.start {
        Start::Joined => (1..scenario.nodes).for_each(|index| cluster.join(index, &[0])),
        Start::Known => cluster.start_known(),
    }
    Ok(cluster)
}

/// Rounds a time up to whole microseconds, which is what the engine counts.
fn up_to_micros(time: Duration) -> Duration {
    Duration::from_micros(micros(time.saturating_add(Duration::from_nanos(999))))
}

/// The drift of a node's clock: from `-most` at the first node to `most` at the last.
fn drift(most: u32, index: usize, nodes: usize) -> i32 {
    let (most, index, last) = (i64::from(most), index as i64, (nodes as i64 - 1).max(1));
    i32::try_from(-most + 2 * most * index / last).unwrap_or(0)
}

/// Lets the nodes publish in turn, each of them once per interval.
struct Publisher {
    load: Load,
    value: Vec<u8>,
    turn: u64,
    next: Duration,
}

impl Publisher {
    fn new(load: Load) -> Self {
        Self { load, value: vec![0; load.bytes.into()], turn: 0, next: Duration::ZERO }
    }

    /// The command that a node gets in its turn number `round`.
    fn publication(&self, round: u64) -> Input<'_, u32> {
        let key: Cow<'_, str> = match self.load.keys {
            1 => "load".into(),
            keys => format!("k{}", round % u64::from(keys)).into(),
        };
        // 7 shares no factor with most numbers of keys, so over time each key is removed once.
        if self.load.keys > 1 && round % 7 == 6 {
            Input::Unpublish { key }
        } else {
            Input::Publish { key, value: Cow::Borrowed(&self.value), urgent: false }
        }
    }

    fn publish(&mut self, cluster: &mut Cluster) {
        while self.next <= cluster.now() {
            let nodes = cluster.len() as u64;
            let node = usize::try_from(self.turn % nodes).unwrap_or(0);
            for (byte, new) in self.value.iter_mut().zip(self.turn.to_le_bytes()) {
                *byte = new;
            }
            // A node that is down refuses the command and publishes nothing.
            let _ = command(cluster, node, self.publication(self.turn / nodes));
            self.turn += 1;
            let interval = self.load.every.as_micros();
            let after = interval * u128::from(self.turn) / u128::from(nodes);
            self.next = Duration::from_micros(u64::try_from(after).unwrap_or(u64::MAX));
        }
    }
}
