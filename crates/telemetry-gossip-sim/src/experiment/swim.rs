//! The promises of the paper on SWIM, measured: load, the time until a dead member is probed, and
//! the rate of failed probes of live members.
//!
//! - *Load* is the number of datagrams sent per member per period, in a cluster without loss and
//!   without news. One ping and one ack make 2.
//! - *First probe* is the time from a crash to the start of the first probe of the crashed member,
//!   in periods. A probe that began before the crash does not count. The paper counts whole
//!   periods, beginning with that of the crash: if all n other members choose at random, one of
//!   them chooses a given member in a period with probability 1 - 1/e, so the mean is e/(e-1) =
//!   1.58. The tables show both the time and the count.
//! - *False suspicions* is the share of probes of live members that fail. Let q be the probability
//!   that a datagram arrives. A ping and its ack succeed with probability q^2, the path through one
//!   of k helpers with q^4. The paper's rate is therefore (1-q^2)(1-q^4)^k.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{Config, DetectorFeatures, SuspicionTimeout};

use super::statistics::{Latencies, Proportion};
use super::{Goal, Runs, on_all_cores, table};
use crate::checker::Checking;
use crate::cluster::Cluster;
use crate::network::Network;
use crate::rng::{Draws, Stream};
use crate::setters::setters;
use crate::simulation::Settings;
use crate::units::Share;

/// The amount of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SwimPlan {
    /// The number of members, for load and first probe.
    pub members: usize,
    /// The number of runs of each protocol, for load and first probe.
    pub runs: u32,
    /// The number of crashes in each run, one after the other.
    pub crashes: u32,
    /// Thousands of probes of live members for each row of false suspicions. Rows in which SWIM
    /// would fail fewer than ten times get ten times as many.
    pub kiloprobes: u32,
    /// The seed of the first run.
    pub seed: u64,
}

setters! {
    SwimPlan {
        members: usize,
        runs: u32,
        crashes: u32,
        kiloprobes: u32,
        seed: u64,
    }
}

impl Default for SwimPlan {
    /// Enough that the confidence intervals are well within the bounds: 2,000 crashes, and a
    /// million probes per row.
    fn default() -> Self {
        Self { members: 250, runs: 80, crashes: 25, kiloprobes: 1_000, seed: 1 }
    }
}

/// A protocol that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Protocol {
    /// SWIM as it was published, with the suspicions of its successors, which last long enough for
    /// a refutation.
    Swim,
    /// The defaults of this implementation.
    Default,
}

impl Protocol {
    fn config(self) -> Config {
        match self {
            Self::Swim => Config::default()
                .detector(DetectorFeatures::SWIM)
                .suspicion(SuspicionTimeout::Scaled { multiplier_percent: 500, max_multiplier: 1 }),
            Self::Default => Config::default(),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Swim => "SWIM",
            Self::Default => "our default",
        })
    }
}

/// The outcome of the experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Swim {
    /// The plan of the experiment.
    pub plan: SwimPlan,
    /// Load and first probe, one row per protocol.
    pub rows: Vec<SwimRow>,
    /// False suspicions, one row per protocol, loss and number of helpers.
    pub false_suspicions: Vec<FalseSuspicion>,
}

/// Load and first probe of one protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SwimRow {
    /// The protocol.
    pub protocol: Protocol,
    /// Datagrams sent per member per period.
    pub load: f64,
    /// Times from a crash to the first probe of the member; a period is 1 s.
    pub first_probe: Latencies,
    /// The mean number of the period in which the first probe began.
    pub mean_period: f64,
    /// Half the width of the 99.9 % confidence interval of that mean.
    pub mean_period_error: f64,
    /// The number of crashes after which the member was never probed.
    pub never_probed: u32,
}

/// The rate of failed probes of live members.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FalseSuspicion {
    /// The protocol.
    pub protocol: Protocol,
    /// The share of datagrams lost.
    pub loss: Share,
    /// The number of helpers.
    pub indirect_probes: u8,
    /// The rate by the paper's formula.
    pub published: f64,
    /// Failed probes among all probes.
    pub measured: Proportion,
}

/// The number of members of the clusters with loss. A probe depends on no members but its helpers.
const LOSSY_MEMBERS: u64 = 50;

/// The virtual time of one run with loss.
const LOSSY_RUN: Duration = Duration::from_secs(1_000);

/// The time after which the members' rounds no longer depend on the start.
const WARM_UP: Duration = Duration::from_secs(10);

/// The time after which the news of a crash has spread: 12 s of suspicion, 3 s of rumors, and 15 s
/// for a late first probe.
const REST: Duration = Duration::from_secs(30);

enum Run {
    Crashes(Protocol, u64),
    Loss(Protocol, Share, u8, u64),
}

enum Outcome {
    Crashes { protocol: Protocol, load: f64, probed: Vec<Option<Duration>> },
    Loss(FalseSuspicion),
}

/// Runs the experiment; `progress` is called after each run.
#[must_use]
pub fn swim(plan: &SwimPlan, progress: impl FnMut(Runs)) -> Swim {
    let mut runs = Vec::new();
    for protocol in [Protocol::Swim, Protocol::Default] {
        runs.extend((0..u64::from(plan.runs)).map(|run| Run::Crashes(protocol, plan.seed + run)));
        for loss in [1, 5, 10].map(Share::percent) {
            for helpers in [1, 3] {
                let lossy = lossy_runs(plan, protocol, published(loss, helpers));
                runs.extend(
                    (0..lossy).map(|run| Run::Loss(protocol, loss, helpers, plan.seed + run)),
                );
            }
        }
    }
    let outcomes = on_all_cores(
        &runs,
        |run| match *run {
            Run::Crashes(protocol, seed) => crashes(plan, protocol, seed),
            Run::Loss(protocol, loss, helpers, seed) => {
                Outcome::Loss(lossy(protocol, loss, helpers, seed))
            }
        },
        progress,
    );
    Swim::of(*plan, &outcomes)
}

/// The number of runs of one row.
fn lossy_runs(plan: &SwimPlan, protocol: Protocol, published: f64) -> u64 {
    let probes = u64::from(plan.kiloprobes) * 1_000;
    let rare = protocol == Protocol::Swim && published * (probes as f64) < 10.0;
    (probes * if rare { 10 } else { 1 }).div_ceil(LOSSY_MEMBERS * LOSSY_RUN.as_secs())
}

fn cluster(config: Config, nodes: usize, network: Network, seed: u64) -> Cluster {
    let checking = Checking::Off;
    let mut cluster = Cluster::new(Settings {
        nodes,
        config,
        other_configs: Vec::new(),
        sealing: None,
        network,
        seed,
        checking,
        keep_events: false,
    });
    cluster.start_known();
    cluster
}

/// Runs a cluster whose members crash one after the other, at random times.
fn crashes(plan: &SwimPlan, protocol: Protocol, seed: u64) -> Outcome {
    let config = protocol.config();
    let period = config.probe_interval;
    let mut cluster = cluster(config, plan.members, Network::default(), seed);
    let mut draws = Draws::new(seed, Stream::Experiment);
    cluster.run_for(WARM_UP);
    let before = cluster.simulation().traffic().sent;
    cluster.run_for(WARM_UP);
    let sent = cluster.simulation().traffic().sent - before;
    let load = sent as f64 / plan.members as f64 / WARM_UP.div_duration_f64(period);
    let probed = (0..plan.crashes)
        .map(|_| {
            cluster.run_for(Duration::from_micros(draws.micros_up_to(1_000_000)));
            let running: Vec<usize> = cluster.taking_part().collect();
            let victim = running[draws.below(running.len())];
            let at = cluster.now();
            cluster.crash(victim);
            cluster.run_for(REST);
            cluster.simulation().first_probed(victim).map(|probed| probed - at)
        })
        .collect();
    Outcome::Crashes { protocol, load, probed }
}

/// Runs a cluster without crashes on a lossy network.
fn lossy(protocol: Protocol, loss: Share, indirect_probes: u8, seed: u64) -> FalseSuspicion {
    let config = protocol.config().indirect_probes(indirect_probes);
    let members = usize::try_from(LOSSY_MEMBERS).unwrap_or(usize::MAX);
    let mut cluster = cluster(config, members, Network::losing(loss), seed);
    cluster.run_for(LOSSY_RUN);
    let mut measured = Proportion::default();
    for node in 0..members {
        measured.hits += cluster.node(node).stats().probes_failed;
        measured.of += cluster.node(node).stats().probes;
    }
    let published = published(loss, indirect_probes);
    FalseSuspicion { protocol, loss, indirect_probes, published, measured }
}

/// The rate of false suspicions by the paper's formula, (1-q^2)(1-q^4)^k.
fn published(loss: Share, helpers: u8) -> f64 {
    let q = 1.0 - f64::from(loss.as_ppm()) / 1e6;
    (1.0 - q.powi(2)) * (1.0 - q.powi(4)).powi(helpers.into())
}

impl Swim {
    fn of(plan: SwimPlan, outcomes: &[Outcome]) -> Self {
        let rows = [Protocol::Swim, Protocol::Default]
            .iter()
            .filter_map(|&protocol| SwimRow::of(protocol, outcomes));
        let mut false_suspicions: Vec<FalseSuspicion> = Vec::new();
        for outcome in outcomes {
            let Outcome::Loss(one) = outcome else { continue };
            let same = |row: &&mut FalseSuspicion| {
                (row.protocol, row.loss, row.indirect_probes)
                    == (one.protocol, one.loss, one.indirect_probes)
            };
            match false_suspicions.iter_mut().find(same) {
                Some(row) => {
                    row.measured.hits += one.measured.hits;
                    row.measured.of += one.measured.of;
                }
                None => false_suspicions.push(*one),
            }
        }
        Self { plan, rows: rows.collect(), false_suspicions }
    }

    /// The bounds on the published results of SWIM, and on the better ones of our default, whose
    /// nodes share a probe schedule.
    #[must_use]
    pub fn goals(&self) -> Vec<Goal> {
        let mut goals = Vec::new();
        for row in &self.rows {
            let name = row.protocol;
            match name {
                Protocol::Swim => {
                    goals.push(Goal::new(format!("{name}: load"), 1.9..=2.1, row.load));
                    let published = 1.0 / (1.0 - (-1.0_f64).exp());
                    let bounds = published * 0.95..=published * 1.05;
                    goals.push(Goal::new(
                        format!("{name}: period of the first probe, mean"),
                        bounds,
                        row.mean_period,
                    ));
                }
                Protocol::Default => {
                    goals.push(Goal::new(format!("{name}: load"), 0.0..=2.1, row.load));
                    let [mean, p99] =
                        [row.first_probe.mean, row.first_probe.p99].map(|time| time.as_secs_f64());
                    goals.push(Goal::new(format!("{name}: first probe, mean"), 0.0..=0.7, mean));
                    goals.push(Goal::new(format!("{name}: first probe, p99"), 0.0..=1.3, p99));
                }
            }
            goals.push(Goal::new(
                format!("{name}: crashes never probed"),
                0.0..=0.0,
                row.never_probed.into(),
            ));
        }
        for row in self.false_suspicions.iter().filter(|row| row.protocol == Protocol::Swim) {
            // The published rate must lie within the confidence interval of the measured one.
            let (low, high) = row.measured.interval();
            let figure =
                format!("SWIM: published rate at {} loss, k={}", row.loss, row.indirect_probes);
            goals.push(Goal::new(figure, low..=high, row.published));
        }
        goals
    }
}

impl SwimRow {
    fn of(protocol: Protocol, outcomes: &[Outcome]) -> Option<Self> {
        let (mut loads, mut times, mut never_probed) = (Vec::new(), Vec::new(), 0);
        for outcome in outcomes {
            match outcome {
                Outcome::Crashes { protocol: of, load, probed } if *of == protocol => {
                    loads.push(*load);
                    times.extend(probed.iter().flatten().copied());
                    never_probed += probed.iter().filter(|time| time.is_none()).count();
                }
                _ => {}
            }
        }
        let periods: Vec<f64> =
            times.iter().map(|time| time.as_secs_f64().ceil().max(1.0)).collect();
        let count = periods.len() as f64;
        let mean_period = periods.iter().sum::<f64>() / count;
        let variance =
            periods.iter().map(|period| (period - mean_period).powi(2)).sum::<f64>() / count;
        Some(Self {
            protocol,
            load: loads.iter().sum::<f64>() / loads.len() as f64,
            first_probe: Latencies::of(&times)?,
            mean_period,
            mean_period_error: 3.2905 * (variance / count).sqrt(),
            never_probed: u32::try_from(never_probed).unwrap_or(u32::MAX),
        })
    }
}

impl fmt::Display for Swim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SwimPlan { members, runs, crashes, seed, .. } = self.plan;
        writeln!(
            f,
            "{members} members, periods of 1 s, {runs} runs of {crashes} crashes each, from seed \
             {seed}.\n"
        )?;
        let titles = [
            "",
            "load",
            "period of the first probe, mean",
            "first probe after a crash, mean",
            "p99",
            "p99.9",
        ];
        table::head(f, &titles)?;
        table::line(f, &["published SWIM", "2.0", "1.582", "", "", ""].map(str::to_owned))?;
        for row in &self.rows {
            let [mean, p99, p999] =
                [row.first_probe.mean, row.first_probe.p99, row.first_probe.p999]
                    .map(table::seconds);
            let period = format!("{:.3} ± {:.3}", row.mean_period, row.mean_period_error);
            table::line(
                f,
                &[row.protocol.to_string(), format!("{:.3}", row.load), period, mean, p99, p999],
            )?;
        }
        writeln!(f, "\nProbes of live members that fail, with 99.9 % confidence:\n")?;
        table::head(
            f,
            &["", "loss", "k", "published for SWIM", "measured", "from", "to", "probes"],
        )?;
        for row in &self.false_suspicions {
            let (low, high) = row.measured.interval();
            let [published, rate, low, high] =
                [row.published, row.measured.rate(), low, high].map(table::number);
            let (loss, k) = (row.loss.to_string(), row.indirect_probes.to_string());
            let probes = table::count(row.measured.of);
            table::line(
                f,
                &[row.protocol.to_string(), loss, k, published, rate, low, high, probes],
            )?;
        }
        writeln!(f)?;
        table::goals(f, &self.goals())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_gives_the_published_table() {
        for (percent, k, figure) in
            [(1, 1, 7.8e-4), (1, 3, 1.2e-6), (5, 1, 1.8e-2), (5, 3, 6.2e-4), (10, 3, 7.7e-3)]
        {
            let ours = published(Share::percent(percent), k);
            assert!((ours / figure - 1.0).abs() < 0.03, "{percent} % k={k}: {ours}");
        }
    }

    #[test]
    fn a_small_experiment_meets_the_goals_of_swim_within_its_confidence() {
        let plan = SwimPlan { members: 60, runs: 12, crashes: 20, kiloprobes: 20, seed: 1 };
        let mut done = 0;
        let swim = swim(&plan, |runs| done = runs.done * 100 / runs.of);
        assert_eq!(done, 100);
        for goal in
            swim.goals().iter().filter(|goal| !goal.figure.contains("period of the first probe"))
        {
            assert!(goal.is_met(), "{goal:?}\n{swim}");
        }
        // 240 crashes give the mean with an error of about 13 %.
        let row = &swim.rows[0];
        assert!(
            (row.mean_period - 1.582).abs() < row.mean_period_error && row.mean_period_error < 0.25,
            "{swim}"
        );
        assert_eq!(swim.false_suspicions.len(), 12);
        // The default retries probes, also through other paths.
        for ours in &swim.false_suspicions[6..] {
            assert!(ours.measured.interval().0 < ours.published, "{ours:?}");
        }
    }

    #[test]
    fn one_plan_gives_one_result() {
        let plan = SwimPlan { members: 10, runs: 2, crashes: 2, kiloprobes: 1, seed: 5 };
        assert_eq!(swim(&plan, |_| {}), swim(&plan, |_| {}));
    }
}
