//! The arguments of `tgossip swarm`.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::span;

/// Run random scenarios, one a seed, and shrink each that fails to the least that still does.
///
/// A seed decides everything: how many nodes (1 to 64, and now and then 250), which of 25 kinds of faults and how often, then a calm
/// in which those that are left have to agree again. Every rule of the protocol is checked all the time, and each 16th
/// seed is run twice and compared event by event. Runs share all cores; the result does not depend on how many.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tgossip swarm
  tgossip swarm --seeds 0..200000 --limit 1h
  tgossip swarm --seeds 4711..4712 --out failures

A failing seed is printed with the command that repeats its run, and its shrunk scenario is written into a file that
`tgossip sim FILE --seed SEED` runs. From ctrl-c on no more seeds are begun, and what is known is printed.

Exit codes:
  0    every run passed and, if there were enough of them, everything happened that has to
  1    a run failed, or something that has to happen never did
  2    wrong arguments
  3    a file could not be written
  130  interrupted")]
pub(crate) struct SwarmArgs {
    /// Which seeds, the last one excluded.
    #[arg(long, value_name = "A..B", default_value = "0..1000", value_parser = seeds)]
    pub(crate) seeds: Range<u64>,
    /// How many runs at once; by default as many as there are cores.
    #[arg(long, value_name = "COUNT", value_parser = count, allow_negative_numbers = true)]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// Begin no more seeds after this time.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(crate) limit: Option<Duration>,
    /// Begin no more seeds after so many have failed.
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = count, allow_negative_numbers = true)]
    pub(crate) failures: NonZeroUsize,
    /// Where to write shrunk scenarios.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) out: PathBuf,
    /// Leave failing runs as they are.
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
        .ok_or("a band is its first seed, two points and the seed after its last: type --seeds 0..1000")?;
    if first >= end {
        let last = u64::MAX - 1_000;
        return Err(format!("{text} has no seeds: type --seeds {first}..{}", first.min(last) + 1_000));
    }
    Ok(first..end)
}

fn count(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "type a whole number from 1 on".to_owned())
}
