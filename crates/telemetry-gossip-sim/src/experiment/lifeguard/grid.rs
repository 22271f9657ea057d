//! The grid of runs, and the execution of one run.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Variant;
use crate::checker::Checking;
use crate::cluster::Cluster;
use crate::experiment::measure::{Alarms, Detection, alarms, detections};
use crate::experiment::table;
use crate::network::Network;
use crate::rng::{Draws, Stream};
use crate::setters::setters;
use crate::simulation::Settings;

/// The runs of the experiment: all combinations of the numbers of anomalous members with the other
/// settings, for each variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LifeguardPlan {
    /// The protocols to compare.
    pub variants: Vec<Variant>,
    /// The number of members of each cluster.
    pub members: usize,
    /// Numbers of anomalous members.
    pub anomalous: Vec<usize>,
    /// Times in milliseconds for which members are blocked in the interval runs.
    pub blocked_ms: Vec<u64>,
    /// Times in milliseconds for which members are free between two blocks.
    pub free_ms: Vec<u64>,
    /// The length of an interval run in seconds; its last block is completed.
    pub span_s: u64,
    /// Times in milliseconds of the single block of the threshold runs.
    pub once_ms: Vec<u64>,
    /// How many times each run is repeated, with other seeds and other anomalous members.
    pub repeats: u32,
    /// The seed of the first run.
    pub seed: u64,
}

setters! {
    LifeguardPlan {
        variants: Vec<Variant>,
        members: usize,
        anomalous: Vec<usize>,
        blocked_ms: Vec<u64>,
        free_ms: Vec<u64>,
        span_s: u64,
        once_ms: Vec<u64>,
        repeats: u32,
        seed: u64,
    }
}

/// The quiet time before the first block.
const QUIET: Duration = Duration::from_secs(15);

/// The longest time that a threshold run waits, from the start of its block, until all members hold
/// all members Alive again.
const RECOVERY: Duration = Duration::from_secs(120);

impl LifeguardPlan {
    /// The published set-up: 9 numbers of anomalous members, 6 blocks, 8 intervals, 10 repeats.
    #[must_use]
    pub fn full() -> Self {
        Self {
            anomalous: vec![1, 4, 8, 12, 16, 20, 24, 28, 32],
            blocked_ms: vec![128, 512, 2_048, 8_192, 16_384, 32_768],
            free_ms: vec![1, 4, 16, 64, 256, 1_024, 4_096, 16_384],
            once_ms: vec![128, 512, 2_048, 8_192, 16_384, 32_768],
            repeats: 10,
            ..Self::default()
        }
    }

    /// All runs of all variants. Runs that differ only in the variant have the same seed.
    pub(super) fn runs(&self) -> Vec<Run> {
        let blocks =
            |blocked: &[u64], free: Vec<Option<u64>>| -> Vec<(Duration, Option<Duration>)> {
                let millis = Duration::from_millis;
                blocked
                    .iter()
                    .flat_map(|&blocked| {
                        free.iter().map(move |free| (millis(blocked), free.map(millis)))
                    })
                    .collect()
            };
        let interval = blocks(&self.blocked_ms, self.free_ms.iter().copied().map(Some).collect());
        let threshold = blocks(&self.once_ms, vec![None]);
        // The seed is the index of the run, so that all variants meet the same faults.
        let mut runs = Vec::new();
        for _ in 0..self.repeats {
            for &anomalous in &self.anomalous {
                for &(blocked, free) in interval.iter().chain(&threshold) {
                    let seed = self.seed.wrapping_mul(1_000_000).wrapping_add(runs.len() as u64);
                    runs.push((seed, anomalous, blocked, free));
                }
            }
        }
        let of = |variant| {
            runs.iter().map(move |&(seed, anomalous, blocked, free)| Run {
                variant,
                seed,
                anomalous,
                blocked,
                free,
            })
        };
        self.variants.iter().copied().flat_map(of).collect()
    }
}

impl Default for LifeguardPlan {
    /// A part of the published set-up that takes two minutes on two cores.
    fn default() -> Self {
        Self {
            variants: Variant::ALL.to_vec(),
            members: 128,
            anomalous: vec![4, 16, 32],
            blocked_ms: vec![512, 2_048, 8_192, 32_768],
            free_ms: vec![4, 64, 1_024, 16_384],
            span_s: 120,
            once_ms: vec![32_768],
            repeats: 1,
            seed: 1,
        }
    }
}

impl fmt::Display for LifeguardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list =
            |values: &[u64]| values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let anomalous: Vec<u64> = self.anomalous.iter().map(|&count| count as u64).collect();
        let interval = self.anomalous.len()
            * self.blocked_ms.len()
            * self.free_ms.len()
            * self.repeats as usize;
        let threshold = self.anomalous.len() * self.once_ms.len() * self.repeats as usize;
        write!(
            f,
            "{} members, of which {} are anomalous; of each variant {} interval runs of {} s \
             (blocked for {} ms, free for {} ms) and {} threshold runs (blocked for {} ms), \
             from seed {}.",
            self.members,
            list(&anomalous),
            table::count(interval as u64),
            self.span_s,
            list(&self.blocked_ms),
            list(&self.free_ms),
            table::count(threshold as u64),
            list(&self.once_ms),
            self.seed
        )
    }
}

/// The settings of one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) variant: Variant,
    pub(super) seed: u64,
    pub(super) anomalous: usize,
    pub(super) blocked: Duration,
    /// `None` in a threshold run.
    pub(super) free: Option<Duration>,
}

/// The outcome of one run.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) alarms: Alarms,
    pub(super) detections: Vec<Detection>,
    pub(super) sent: u64,
    pub(super) sent_bytes: u64,
}

/// Executes one run.
pub(super) fn perform(plan: &LifeguardPlan, run: &Run) -> Outcome {
    let mut cluster = Cluster::new(Settings {
        nodes: plan.members,
        config: run.variant.config(),
        other_configs: Vec::new(),
        sealing: None,
        network: Network::default(),
        seed: run.seed,
        checking: Checking::Off,
        keep_events: true,
    });
    cluster.start_known();
    cluster.run_for(QUIET);
    let anomalous = Draws::new(run.seed, Stream::Experiment).choose(plan.members, run.anomalous);
    let (begin, before) = (cluster.now(), cluster.simulation().traffic());
    let mut detections_seen = Vec::new();
    match run.free {
        Some(free) => {
            while cluster.now() < begin + Duration::from_secs(plan.span_s) {
                block_for(&mut cluster, &anomalous, run.blocked);
                cluster.run_for(free);
            }
        }
        None => {
            block_for(&mut cluster, &anomalous, run.blocked);
            cluster
                .run_until(Cluster::views_complete_and_alive, RECOVERY.saturating_sub(run.blocked));
            detections_seen = detections(&cluster, &anomalous, begin);
        }
    }
    let traffic = cluster.simulation().traffic();
    Outcome {
        alarms: alarms(&cluster, &anomalous),
        detections: detections_seen,
        sent: traffic.sent - before.sent,
        sent_bytes: traffic.sent_bytes - before.sent_bytes,
    }
}

/// Blocks all anomalous members together, and unblocks them together after `span`.
fn block_for(cluster: &mut Cluster, anomalous: &[usize], span: Duration) {
    anomalous.iter().for_each(|&member| cluster.block(member));
    cluster.run_for(span);
    anomalous.iter().for_each(|&member| cluster.unblock(member));
}
