//! Helpers of the acceptance tests: many seeds for each test, and a word on how to repeat the one
//! that failed.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(warnings)]

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs a test for seeds 0, 1, ... below `count`.
///
/// With `SEED=n` in the environment, for that one only. With `SEED_SLICE=k/m` (k from 1 to m), for
/// the k-th of m slices, one seed at least: a repetition of m runs covers all seeds once, and each
/// run others.
///
/// # Panics
/// As the test does, after saying which seed it was and the command that repeats it.
pub fn for_each_seed(count: u64, mut test: impl FnMut(u64)) {
    for seed in seeds(count) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            eprintln!("seed {seed} fails; to repeat it:\n  {}", replay(seed));
            resume_unwind(panic);
        }
    }
}

/// The seeds that this run is for.
fn seeds(count: u64) -> Range<u64> {
    if let Ok(seed) = std::env::var("SEED") {
        let seed: u64 = seed.parse().unwrap_or_else(|error| panic!("SEED is a number: {error}"));
        return seed..seed + 1;
    }
    let Ok(slice) = std::env::var("SEED_SLICE") else { return 0..count };
    let parsed = slice
        .split_once('/')
        .and_then(|(k, m)| Some((k.parse::<u64>().ok()?, m.parse::<u64>().ok()?)));
    match parsed {
        Some((k, m)) if 1 <= k && k <= m => {
            let start = ((k - 1) * count / m).min(count.saturating_sub(1));
            start..(k * count / m).max(start + 1)
        }
        _ => panic!("SEED_SLICE is K/M with K from 1 to M, such as 3/50, not {slice}"),
    }
}

/// Of how many of the seeds that this run is for a condition is met, and how many these are; tells
/// those that do not.
pub fn count_of_seeds(count: u64, mut meets: impl FnMut(u64) -> bool) -> (u64, u64) {
    let (mut met, mut run) = (0, 0);
    for_each_seed(count, |seed| {
        run += 1;
        if meets(seed) {
            met += 1;
        } else {
            eprintln!("seed {seed} does not: {}", replay(seed));
        }
    });
    (met, run)
}

/// The command that runs this test for one seed.
fn replay(seed: u64) -> String {
    let thread = std::thread::current();
    let program = std::env::args().next().unwrap_or_default();
    let file = std::path::Path::new(&program)
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
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
