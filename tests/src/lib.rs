//! Helpers of the acceptance tests: they run a test with many seeds, and print the command that
//! repeats a failure.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(warnings)]

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs a test with the seeds 0, 1, ... below `count`.
///
/// The environment can restrict the seeds. `SEED=n` selects the seed n. `SEED_SLICE=k/m`, with k
/// from 1 to m, selects the k-th of m slices of the seeds, but at least one seed, so that m runs
/// with different slices cover all seeds.
///
/// # Panics
/// Panics if the test does, after printing the seed and the command that repeats the failure.
pub fn for_each_seed(count: u64, mut test: impl FnMut(u64)) {
    for seed in seeds(count) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            eprintln!("seed {seed} fails; repeat it with:\n  {}", replay(seed));
            resume_unwind(panic);
        }
    }
}

/// The seeds that the environment selects.
fn seeds(count: u64) -> Range<u64> {
    if let Ok(seed) = std::env::var("SEED") {
        let seed: u64 =
            seed.parse().unwrap_or_else(|error| panic!("SEED must be a number: {error}"));
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
        _ => panic!("SEED_SLICE must be K/M with K from 1 to M, such as 3/50, not {slice}"),
    }
}

/// Counts the selected seeds that meet a condition, and all selected seeds. Prints those that do
/// not meet it.
pub fn count_of_seeds(count: u64, mut meets: impl FnMut(u64) -> bool) -> (u64, u64) {
    let (mut met, mut run) = (0, 0);
    for_each_seed(count, |seed| {
        run += 1;
        if meets(seed) {
            met += 1;
        } else {
            eprintln!("seed {seed} does not meet the condition: {}", replay(seed));
        }
    });
    (met, run)
}

/// The command that runs the current test with one seed.
fn replay(seed: u64) -> String {
    let thread = std::thread::current();
    let program = std::env::args().next().unwrap_or_default();
    let file = std::path::Path::new(&program)
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let target = file.rsplit_once('-').map_or(file, |(target, _)| target);
    let test = thread.name().unwrap_or_default();
    // Cargo sets it for the tests that it runs.
    let package = std::env::var("CARGO_PKG_NAME");
    let package = package.unwrap_or_else(|_| env!("CARGO_PKG_NAME").to_owned());
    format!(
        "SEED={seed} cargo test --release -p {package} --test {target} {test} -- \
         --include-ignored"
    )
}

/// Writes `part` of `whole` as text: "3 of 4 (75.00 %)".
#[must_use]
pub fn share(part: u64, whole: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "counts of seeds are small")]
    let percent = part as f64 * 100.0 / whole as f64;
    format!("{part} of {whole} ({percent:.2} %)")
}
