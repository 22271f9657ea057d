//! Runs a scenario: `(scenario, seed) -> report`.

use std::borrow::Cow;
use std::time::Duration;

use telemetry_gossip_core::{Input, Label};
use telemetry_gossip_seal::{Key, Keyring};

use super::perform::command;
use super::{Load, Scenario, ScenarioError, Start};
use crate::checker::Checking;
use crate::cluster::{Cluster, node_id};
use crate::process::Spawn;
use crate::report::Report;
use crate::rng::micros;
use crate::simulation::{Settings, Simulation};
use crate::trace::Moment;

/// How to run, which does not change what happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How much is checked.
    pub checking: Checking,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Virtual time.
    pub at: Duration,
    /// Of so much.
    pub of: Duration,
}

/// Virtual time between two calls of a progress callback, and two looks at whether the join is
/// complete.
const SLICE: Duration = Duration::from_millis(20);

/// Runs a scenario to its end.
pub fn run(scenario: &Scenario, seed: u64) -> Result<Report, ScenarioError> {
    run_with(scenario, seed, Options::default(), |_| {})
}

/// The same, with a word on how far it is from time to time.
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

/// Runs a scenario and keeps what goes into the trace.
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
    let (mut joined, mut done, mut idle) = (None, Vec::new(), Vec::new());
    let (mut look, mut marks) = (Duration::ZERO, Marks::default());
    loop {
        let now = cluster.now();
        if now >= look {
            progress(Progress { at: now, of: scenario.duration });
            if joined.is_none() && cluster.views_complete_and_alive() {
                joined = Some(now);
            }
            look = now + SLICE;
        }
        marks.look(scenario, cluster);
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
    marks.joined_after = joined;
    Report::of(scenario, cluster, marks, &done, &idle)
}

/// What a run had come to at certain times.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Marks {
    /// When all views were first complete.
    pub(crate) joined_after: Option<Duration>,
    /// False deads before the calm.
    pub(crate) false_deads: Option<u64>,
    /// Bytes sent before the last stretch.
    pub(crate) sent_bytes: Option<u64>,
}

/// Whether a cluster is quiet shows in the last so much of a run.
pub(crate) const LAST: Duration = Duration::from_secs(10);

impl Marks {
    fn look(&mut self, scenario: &Scenario, cluster: &Cluster) {
        let (now, simulation) = (cluster.now(), cluster.simulation());
        if now >= scenario.expect.calm_from {
            self.false_deads.get_or_insert(simulation.false_deads());
        }
        if now + LAST >= scenario.duration {
            self.sent_bytes.get_or_insert(simulation.traffic().sent_bytes);
        }
    }
}

fn start(scenario: &Scenario, seed: u64, options: Options) -> Result<Cluster, ScenarioError> {
    let settings = Settings {
        nodes: 0,
        config: scenario.config.config(),
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

/// The engine counts whole microseconds: a time between two of them has come at the second.
fn up_to_micros(time: Duration) -> Duration {
    Duration::from_micros(micros(time.saturating_add(Duration::from_nanos(999))))
}

/// From `-most` at the first node to `most` at the last.
fn drift(most: u32, index: usize, nodes: usize) -> i32 {
    let (most, index, last) = (i64::from(most), index as i64, (nodes as i64 - 1).max(1));
    i32::try_from(-most + 2 * most * index / last).unwrap_or(0)
}

/// Lets one node after another publish, so that each does once in an interval.
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

    /// What a node publishes in its so many-th turn.
    fn publication(&self, round: u64) -> Input<'_, u32> {
        let key: Cow<'_, str> = match self.load.keys {
            1 => "load".into(),
            keys => format!("k{}", round % u64::from(keys)).into(),
        };
        // Seven is prime to few counts of keys: over time all are removed once.
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
            // Who is down publishes nothing.
            let _ = command(cluster, node, self.publication(self.turn / nodes));
            self.turn += 1;
            let interval = self.load.every.as_micros();
            let after = interval * u128::from(self.turn) / u128::from(nodes);
            self.next = Duration::from_micros(u64::try_from(after).unwrap_or(u64::MAX));
        }
    }
}
