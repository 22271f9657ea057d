//! Helpers of the acceptance tests: many seeds for each test, and a word on how to repeat the one that failed.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(warnings)]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs a test for seeds 0, 1, ... below `count`; with `SEED=n` in the environment, for that one only.
///
/// # Panics
/// As the test does, after saying which seed it was and the command that repeats it.
pub fn for_each_seed(count: u64, mut test: impl FnMut(u64)) {
    let only = std::env::var("SEED").ok().map(|seed| seed.parse::<u64>());
    let seeds = match only {
        Some(Ok(seed)) => seed..seed + 1,
        Some(Err(error)) => panic!("SEED is a number: {error}"),
        None => 0..count,
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            eprintln!("seed {seed} fails; to repeat it:\n  {}", replay(seed));
            resume_unwind(panic);
        }
    }
}

/// How many of the seeds below `count` meet a condition; tells those that do not.
pub fn count_of_seeds(count: u64, mut meets: impl FnMut(u64) -> bool) -> u64 {
    let mut met = 0;
    for_each_seed(count, |seed| {
        if meets(seed) {
            met += 1;
        } else {
            eprintln!("seed {seed} does not: {}", replay(seed));
        }
    });
    met
}

/// The command that runs this test for one seed.
fn replay(seed: u64) -> String {
    let thread = std::thread::current();
    let program = std::env::args().next().unwrap_or_default();
    let file = std::path::Path::new(&program).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let target = file.rsplit_once('-').map_or(file, |(target, _)| target);
    let test = thread.name().unwrap_or_default();
    format!(
        "SEED={seed} cargo test --release -p telemetry-gossip-tests --test {target} {test} -- --include-ignored"
    )
}

/// `part` of `whole` in words.
#[must_use]
pub fn share(part: u64, whole: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "counts of seeds are small")]
    let percent = part as f64 * 100.0 / whole as f64;
    format!("{part} of {whole} ({percent:.2} %)")
}
