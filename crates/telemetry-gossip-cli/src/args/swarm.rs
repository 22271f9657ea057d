//! The arguments of `tgossip swarm`.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::{count, span};

/// Run random scenarios, one per seed, and shrink each one that fails.
///
/// The seed determines the whole scenario: the number of nodes (1 to 64, sometimes 250), which of
/// 43 kinds of faults happen and how often, liars among them, and a quiet time at the end in which
/// the remaining nodes have to agree again. Every run checks every rule of the protocol all the
/// time. Every 16th seed runs twice, and the two runs are compared event by event. Runs share all
/// cores; the result does not depend on their number.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tgossip swarm
  tgossip swarm --seeds 0..200000 --limit 1h
  tgossip swarm --seeds 4711..4712 --out failures

For each failing seed, the command prints how to repeat the run and writes the shrunk scenario \
to a file that `tgossip sim FILE --seed SEED` runs. After ctrl-c it starts no more seeds and \
prints its results so far.

Exit codes:
  0    every run passed; enough runs also covered all that they must
  1    a run failed, or something that the runs must cover never happened
  2    wrong arguments
  3    a file could not be written
  130  interrupted")]
pub(crate) struct SwarmArgs {
    /// Range of seeds, from A to B - 1.
    #[arg(long, value_name = "A..B", default_value = "0..1000", value_parser = seeds)]
    pub(crate) seeds: Range<u64>,
    /// Number of runs at a time; by default the number of cores.
    #[arg(long, value_name = "COUNT", value_parser = count, allow_negative_numbers = true)]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// Start no more seeds after this time.
    #[arg(long, value_name = "SPAN", value_parser = span, allow_hyphen_values = true)]
    pub(crate) limit: Option<Duration>,
    /// Start no more seeds after this number of failures.
    #[arg(
        long,
        value_name = "COUNT",
        default_value = "1",
        value_parser = count,
        allow_negative_numbers = true
    )]
    pub(crate) failures: NonZeroUsize,
    /// Folder for the shrunk scenarios.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) out: PathBuf,
    /// Do not shrink failing scenarios.
    #[arg(long)]
    pub(crate) no_shrink: bool,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (first, end): (u64, u64) = text
        .split_once("..")
        .and_then(|(first, end)| Some((first.parse().ok()?, end.parse().ok()?)))
        .ok_or(
            "a range is its first seed, two dots and the seed after its last: type --seeds 0..1000",
        )?;
    if first >= end {
        let last = u64::MAX - 1_000;
        return Err(format!(
            "{text} has no seeds: type --seeds {first}..{}",
            first.min(last) + 1_000
        ));
    }
    Ok(first..end)
}
