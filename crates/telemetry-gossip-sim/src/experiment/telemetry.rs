//! The cost of disseminating the telemetry of all members to all members, and the age of the
//! values.
//!
//! Each member publishes s = 100 B once per period T, at a time of its own. Any scheme must deliver
//! at least (n-1) s / T bytes per second to each reader; this is the *floor*. The experiment
//! measures all payload bytes that a member receives, including membership and acknowledgements.
//! Twice per second it reads the ages of all values at all readers, and counts how many are younger
//! than T + 1 s at the worst reader. When the publications end, all readers must come to hold all
//! values.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{Config, Member};

use super::schemes::{Scheme, SchemeRow, model};
use super::{Goal, Runs, on_all_cores, table};
use crate::checker::Checking;
use crate::cluster::Cluster;
use crate::network::Network;
use crate::rng::{Draws, Stream};
use crate::setters::setters;
use crate::simulation::Settings;
use crate::units::Share;

/// The amount of measurements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TelemetryPlan {
    /// The sizes of the clusters.
    pub members: Vec<usize>,
    /// The periods of publication in seconds.
    pub periods_s: Vec<u32>,
    /// The shares of datagrams lost.
    pub losses: Vec<Share>,
    /// Bytes of a member's telemetry, including the key.
    pub bytes: usize,
    /// The number of runs of each row.
    pub runs: u32,
    /// The seed of the first run.
    pub seed: u64,
}

setters! {
    TelemetryPlan {
        members: Vec<usize>,
        periods_s: Vec<u32>,
        losses: Vec<Share>,
        bytes: usize,
        runs: u32,
        seed: u64,
    }
}

impl Default for TelemetryPlan {
    fn default() -> Self {
        Self {
            members: vec![250, 1_000],
            periods_s: vec![1, 10],
            losses: [0, 1, 5].map(Share::percent).to_vec(),
            bytes: 100,
            runs: 1,
            seed: 1,
        }
    }
}

/// The outcome of the experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Telemetry {
    /// The plan of the experiment.
    pub plan: TelemetryPlan,
    /// The results, one row per size, period and loss.
    pub rows: Vec<TelemetryRow>,
    /// Models of other schemes without loss, for the smallest cluster of the plan.
    pub others: Vec<SchemeRow>,
}

/// The results for one size, period and loss: means over the runs, unless stated otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TelemetryRow {
    /// The number of members.
    pub members: usize,
    /// Seconds between publications.
    pub period_s: u32,
    /// The share of datagrams lost.
    pub loss: Share,
    /// The least bytes per second that a member has to receive.
    pub floor: f64,
    /// Bytes received per member per second.
    pub received: f64,
    /// Datagrams received per member per second.
    pub datagrams: f64,
    /// The share of values younger than the period plus one second, at the worst reader of the
    /// worst run.
    pub young: f64,
    /// The 99th percentile of the age of values at all readers, minus the period, in seconds; of
    /// the worst run.
    pub late_s: f64,
    /// The age of the oldest value at any reader in any run, in seconds.
    pub oldest_s: f64,
    /// The time from the last publication until all readers held all values, in seconds; of the
    /// worst run. `None` if it exceeded a minute.
    pub complete_s: Option<f64>,
}

struct Run {
    members: usize,
    period_s: u32,
    loss: Share,
    bytes: usize,
    seed: u64,
}

/// The key that all members publish.
const KEY: &str = "load";

/// The time between two readings of all ages.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);

/// Runs the experiment; `progress` is called after each run.
#[must_use]
pub fn telemetry(plan: &TelemetryPlan, progress: impl FnMut(Runs)) -> Telemetry {
    let mut runs = Vec::new();
    for &members in &plan.members {
        for &period_s in &plan.periods_s {
            for &loss in &plan.losses {
                runs.extend((0..u64::from(plan.runs)).map(|run| {
                    let (bytes, seed) = (plan.bytes, plan.seed + run);
                    Run { members, period_s, loss, bytes, seed }
                }));
            }
        }
    }
    let rows = on_all_cores(&runs, measure, progress);
    let each = usize::try_from(plan.runs.max(1)).unwrap_or(usize::MAX);
    let fewest = plan.members.iter().copied().min().unwrap_or(2);
    let others: Vec<(Scheme, u32)> = plan
        .periods_s
        .iter()
        .flat_map(|&period| Scheme::ALL.map(|scheme| (scheme, period)))
        .collect();
    let run =
        |&(scheme, period): &(Scheme, u32)| model(scheme, fewest, period, plan.bytes, plan.seed);
    Telemetry {
        plan: plan.clone(),
        rows: rows.chunks(each).filter_map(TelemetryRow::of).collect(),
        others: on_all_cores(&others, run, |_| {}),
    }
}

/// A cluster in which all members publish.
struct Flow {
    cluster: Cluster,
    /// The time of the next publication of each member.
    next: Vec<Duration>,
    /// The times of the publications so far, per member.
    published: Vec<Vec<Duration>>,
    period: Duration,
    value: Vec<u8>,
}

impl Flow {
    fn new(run: &Run) -> Self {
        let mut cluster = Cluster::new(Settings {
            nodes: run.members,
            config: Config::default(),
            other_configs: Vec::new(),
            sealing: None,
            network: Network::losing(run.loss),
            seed: run.seed,
            checking: Checking::Off,
            keep_events: false,
        });
        cluster.start_known();
        let period = Duration::from_secs(run.period_s.into());
        let mut draws = Draws::new(run.seed, Stream::Experiment);
        let micros = u64::try_from(period.as_micros()).unwrap_or(u64::MAX);
        let next =
            (0..run.members).map(|_| Duration::from_micros(draws.micros_up_to(micros))).collect();
        let published = vec![Vec::new(); run.members];
        Self {
            cluster,
            next,
            published,
            period,
            value: vec![b'x'; run.bytes.saturating_sub(KEY.len())],
        }
    }

    /// Lets time pass until `end`, with publications at their times.
    fn run_to(&mut self, end: Duration) {
        let mut order: Vec<usize> =
            (0..self.next.len()).filter(|&at| self.next[at] < end).collect();
        while !order.is_empty() {
            order.sort_by_key(|&at| self.next[at]);
            for &at in &order {
                self.cluster.simulation_mut().run_to(self.next[at]);
                self.cluster.publish(at, KEY, &self.value);
                self.published[at].push(self.next[at]);
                self.next[at] += self.period;
            }
            order.retain(|&at| self.next[at] < end);
        }
        self.cluster.simulation_mut().run_to(end);
    }

    /// Bytes and datagrams received by all members so far.
    fn received(&self) -> (u64, u64) {
        (0..self.cluster.len()).fold((0, 0), |(bytes, datagrams), at| {
            let stats = self.cluster.node(at).stats();
            (bytes + stats.bytes_received, datagrams + stats.datagrams_received)
        })
    }

    /// The ages of all values at one reader. A missing value is as old as the run.
    fn ages(&self, reader: usize) -> impl Iterator<Item = Duration> {
        let now = self.cluster.now();
        let known =
            self.cluster.node(reader).members().filter_map(move |member: Member<'_, u32>| {
                let owner: usize = member.id().strip_prefix('n')?.parse().ok()?;
                (owner != reader).then_some((owner, member.telemetry_version()))
            });
        known.map(move |(owner, version)| {
            let at = usize::try_from(version).unwrap_or(usize::MAX).checked_sub(1);
            let published = at.and_then(|at| self.published[owner].get(at));
            now - published.copied().unwrap_or_default()
        })
    }

    /// Whether all readers hold all values.
    fn complete(cluster: &Cluster) -> bool {
        let first = cluster.node(0).membership().fingerprint();
        (1..cluster.len()).all(|at| cluster.node(at).membership().fingerprint() == first)
    }
}

/// Executes one run.
fn measure(run: &Run) -> TelemetryRow {
    let mut flow = Flow::new(run);
    let (members, period) = (run.members, flow.period);
    // By then every member has published twice, and the start has no more influence.
    let begin = period * 2 + Duration::from_secs(5);
    let end = begin + (period * 2).max(Duration::from_secs(15));
    flow.run_to(begin);
    let before = flow.received();
    let (mut young, mut looks, mut oldest) = (vec![0_u64; members], 0_u64, Duration::ZERO);
    // Ages beyond the period, in steps of 10 ms.
    let mut late = vec![0_u64; 2_000];
    let limit = period + Duration::from_secs(1);
    let mut at = begin;
    while at < end {
        at += SAMPLE_INTERVAL;
        flow.run_to(at);
        looks += 1;
        for (reader, young) in young.iter_mut().enumerate() {
            for age in flow.ages(reader) {
                *young += u64::from(age <= limit);
                oldest = oldest.max(age);
                let steps = usize::try_from(age.saturating_sub(period).as_millis() / 10)
                    .unwrap_or(usize::MAX);
                late[steps.min(1_999)] += 1;
            }
        }
    }
    let after = flow.received();
    let seconds = (end - begin).as_secs_f64() * members as f64;
    let values = (looks * (members as u64 - 1)).max(1) as f64;
    let complete = flow.cluster.run_until(Flow::complete, Duration::from_secs(60));
    TelemetryRow {
        members,
        period_s: run.period_s,
        loss: run.loss,
        floor: (members - 1) as f64 * run.bytes as f64 / f64::from(run.period_s),
        received: (after.0 - before.0) as f64 / seconds,
        datagrams: (after.1 - before.1) as f64 / seconds,
        young: young.iter().copied().min().unwrap_or(0) as f64 / values,
        late_s: percentile(&late) as f64 / 100.0,
        oldest_s: oldest.as_secs_f64(),
        complete_s: complete.map(|span| span.as_secs_f64()),
    }
}

/// The index of the 99th percentile in a histogram.
fn percentile(counts: &[u64]) -> usize {
    let all: u64 = counts.iter().sum();
    let mut below = 0;
    let place = counts.iter().position(|&count| {
        below += count;
        below * 100 >= all * 99
    });
    place.unwrap_or(0)
}

impl TelemetryRow {
    fn of(runs: &[Self]) -> Option<Self> {
        let count = runs.len() as f64;
        let mean = |figure: fn(&Self) -> f64| runs.iter().map(figure).sum::<f64>() / count;
        let most = |figure: fn(&Self) -> f64| runs.iter().map(figure).fold(0.0, f64::max);
        let complete = runs.iter().map(|run| run.complete_s).collect::<Option<Vec<f64>>>();
        Some(Self {
            received: mean(|run| run.received),
            datagrams: mean(|run| run.datagrams),
            young: runs.iter().map(|run| run.young).fold(1.0, f64::min),
            late_s: most(|run| run.late_s),
            oldest_s: most(|run| run.oldest_s),
            complete_s: complete.map(|spans| spans.into_iter().fold(0.0, f64::max)),
            ..*runs.first()?
        })
    }

    /// The bytes received, as a multiple of the floor.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.received / self.floor
    }
}

impl Telemetry {
    /// The bounds: at most 1.5 times the floor with a period of 1 s, and twice the floor with
    /// longer ones; at every reader, 99 % of values younger than the period plus one second; all
    /// values delivered within a minute.
    #[must_use]
    pub fn goals(&self) -> Vec<Goal> {
        let mut goals = Vec::new();
        for row in &self.rows {
            let name =
                format!("{} members, T = {} s, {} loss", row.members, row.period_s, row.loss);
            let most = if row.period_s == 1 { 1.5 } else { 2.0 };
            goals.push(Goal::new(format!("{name}: times the floor"), 1.0..=most, row.ratio()));
            goals.push(Goal::new(
                format!("{name}: share younger than T + 1 s"),
                0.99..=1.0,
                row.young,
            ));
            let complete = row.complete_s.unwrap_or(f64::NAN);
            goals.push(Goal::new(
                format!("{name}: seconds until all is delivered"),
                0.0..=60.0,
                complete,
            ));
        }
        goals
    }
}

impl fmt::Display for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TelemetryPlan { bytes, runs, seed, .. } = self.plan;
        writeln!(
            f,
            "Each member publishes {bytes} B once per period; {runs} runs per row, from seed \
             {seed}.\n"
        )?;
        let titles = [
            "members",
            "period",
            "loss",
            "floor B/s",
            "received B/s",
            "times the floor",
            "datagrams/s",
            "younger than T + 1 s",
            "late, 99th percentile",
            "oldest",
            "complete after",
        ];
        table::head(f, &titles)?;
        for row in &self.rows {
            let cells = [
                table::count(row.members as u64),
                format!("{} s", row.period_s),
                row.loss.to_string(),
                format!("{:.0}", row.floor),
                format!("{:.0}", row.received),
                format!("{:.2}", row.ratio()),
                format!("{:.1}", row.datagrams),
                format!("{:.3} %", row.young * 100.0),
                format!("{:.2} s", row.late_s),
                format!("{:.2} s", row.oldest_s),
                row.complete_s.map_or_else(|| "never".to_owned(), |span| format!("{span:.2} s")),
            ];
            table::line(f, &cells)?;
        }
        writeln!(f, "\nOther schemes, modelled without loss:\n")?;
        table::head(
            f,
            &["scheme", "members", "period", "times the floor", "late, 99th percentile"],
        )?;
        for row in &self.others {
            let cells = [
                row.scheme.to_string(),
                table::count(row.members as u64),
                format!("{} s", row.period_s),
                format!("{:.2}", row.ratio),
                format!("{:.1} s", row.late_s),
            ];
            table::line(f, &cells)?;
        }
        writeln!(f)?;
        table::goals(f, &self.goals())
    }
}
