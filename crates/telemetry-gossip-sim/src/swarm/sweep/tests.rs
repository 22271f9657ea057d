//! Sweeps with failing seeds, and how they end.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::report::Expectation;
use crate::scenario::{run, run_traced};
use crate::swarm::Fault;

/// A short scenario of five nodes. Its expectation cannot be met with the seeds 3, 10, 17, ...
fn scenario(seed: u64) -> Scenario {
    let mut scenario = Scenario::from_toml(
        "name = \"five\"\nnodes = 5\nstart = \"known\"\nduration = \"50s\"\n\
         steps = [{ at = \"5s\", crash = \"random 1\" }]",
    )
    .unwrap();
    if seed % 7 == 3 {
        scenario.expect.known_within = Some(Duration::from_millis(1));
    }
    scenario
}

fn go_on(_: &Swept) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn swept(threads: usize, max_failures: usize) -> Swept {
    let sweep = Sweep::default()
        .seeds(0..40)
        .threads(NonZeroUsize::new(threads))
        .max_failures(NonZeroUsize::new(max_failures).unwrap());
    Swept { elapsed: Duration::ZERO, ..sweep.run(scenario, go_on) }
}

fn seeds(swept: &Swept) -> Vec<u64> {
    swept.failures.iter().map(|failed| failed.seed).collect()
}

#[test]
fn the_outcome_of_a_sweep_does_not_depend_on_the_number_of_threads() {
    let one = swept(1, 3);
    assert_eq!((seeds(&one), one.runs, one.end), (vec![3, 10, 17], 18, End::Failures));
    assert_eq!(one.coverage.total("operations.crash"), 18);
    assert_eq!((one.twice, one.simulated), (2, Duration::from_secs(50 * 20)));
    assert_eq!([swept(2, 3), swept(7, 3)], [one.clone(), one]);
    let all = swept(3, usize::MAX);
    assert_eq!((seeds(&all), all.runs, all.end), (vec![3, 10, 17, 24, 31, 38], 40, End::Complete));
    assert!(!all.passed());
}

#[test]
fn a_failure_names_the_expectation_and_the_command_that_repeats_it() {
    let failed = &swept(2, 1).failures[0];
    assert_eq!(failed.findings[0].fault, Fault::Unmet(Expectation::News));
    assert!(failed.findings[0].what.contains("the crash of n"), "{failed:?}");
    assert_eq!(failed.replay, "tgossip sim five --seed 3 --nodes 5 --duration 50s --loss 0%");
}

#[test]
fn a_run_that_is_not_a_function_of_its_seed_is_found() {
    let runs = AtomicU64::new(0);
    let fickle: Run<'_> =
        &|scenario, seed, _| run_traced(scenario, seed + runs.fetch_add(1, Ordering::Relaxed));
    let sweep = Sweep::default().seeds(0..4).twice_every(NonZeroU64::new(2));
    let swept = sweep.run_by(fickle, |_| Scenario::named("quiet").unwrap().with_nodes(3), go_on);
    let finding = &swept.failures[0].findings[0];
    assert_eq!((swept.failures[0].seed, finding.fault), (0, Fault::Diverged));
    assert!(finding.what.contains("equal events the first run [t="), "{finding}");
}

#[test]
fn a_panic_fails_only_its_own_seed() {
    let fragile: Run<'_> = &|scenario, seed, _| {
        assert!(seed != 5, "a planted panic");
        Ok((run(scenario, seed)?, Vec::new()))
    };
    let sweep = Sweep::default().seeds(4..8).max_failures(NonZeroUsize::MAX).twice_every(None);
    let swept = sweep.run_by(fragile, |_| Scenario::named("quiet").unwrap().with_nodes(3), go_on);
    assert_eq!((swept.runs, seeds(&swept), swept.end), (4, vec![5], End::Complete));
    assert_eq!(swept.failures[0].findings[0].fault, Fault::Panicked);
    assert_eq!(swept.coverage.count("events.joined").runs, 3);
}

#[test]
fn a_sweep_ends_at_its_limit_or_when_the_callback_stops_it() {
    let sweep = Sweep::default().seeds(0..u64::MAX).limit(Some(Duration::ZERO));
    let swept = sweep.run(scenario, go_on);
    assert_eq!((swept.runs, swept.end), (1, End::Limit));
    let sweep = Sweep::default().seeds(0..u64::MAX);
    let swept = sweep.run(scenario, |swept| {
        if swept.runs == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((swept.runs, swept.end), (2, End::Stopped));
    let nothing = Sweep::default().seeds(9..9).run(scenario, go_on);
    assert_eq!((nothing.runs, nothing.end), (0, End::Complete));
}
