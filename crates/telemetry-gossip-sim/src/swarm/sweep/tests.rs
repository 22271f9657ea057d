//! Bands with seeds that fail, and how they end.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::report::Expectation;
use crate::scenario::{run, run_traced};
use crate::swarm::Fault;

/// Five quick nodes; of every seventh seed, three from 3 on, more is expected than anybody can do.
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
    let sweep = Sweep {
        seeds: 0..40,
        threads: NonZeroUsize::new(threads),
        max_failures: NonZeroUsize::new(max_failures).unwrap(),
        ..Sweep::default()
    };
    Swept { elapsed: Duration::ZERO, ..sweep.run(scenario, go_on) }
}

fn seeds(swept: &Swept) -> Vec<u64> {
    swept.failures.iter().map(|failed| failed.seed).collect()
}

#[test]
fn what_a_sweep_shows_does_not_depend_on_its_threads() {
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
fn a_failure_is_told_with_what_was_expected_and_how_to_repeat_it() {
    let failed = &swept(2, 1).failures[0];
    assert_eq!(failed.findings[0].fault, Fault::Unmet(Expectation::News));
    assert!(failed.findings[0].what.contains("the crash of n"), "{failed:?}");
    assert_eq!(failed.replay, "tgossip sim five --seed 3 --nodes 5 --duration 50s --loss 0%");
}

#[test]
fn a_run_that_is_no_function_of_its_seed_is_found() {
    let runs = AtomicU64::new(0);
    let fickle: Run<'_> =
        &|scenario, seed, _| run_traced(scenario, seed + runs.fetch_add(1, Ordering::Relaxed));
    let sweep = Sweep { seeds: 0..4, twice_every: NonZeroU64::new(2), ..Sweep::default() };
    let swept = sweep.run_by(fickle, |_| Scenario::named("quiet").unwrap().with_nodes(3), go_on);
    let finding = &swept.failures[0].findings[0];
    assert_eq!((swept.failures[0].seed, finding.fault), (0, Fault::Diverged));
    assert!(finding.what.contains("equal events the first run [t="), "{finding}");
}

#[test]
fn a_panic_is_a_failure_of_its_seed_alone() {
    let fragile: Run<'_> = &|scenario, seed, _| {
        assert!(seed != 5, "a planted panic");
        Ok((run(scenario, seed)?, Vec::new()))
    };
    let sweep = Sweep {
        seeds: 4..8,
        max_failures: NonZeroUsize::MAX,
        twice_every: None,
        ..Sweep::default()
    };
    let swept = sweep.run_by(fragile, |_| Scenario::named("quiet").unwrap().with_nodes(3), go_on);
    assert_eq!((swept.runs, seeds(&swept), swept.end), (4, vec![5], End::Complete));
    assert_eq!(swept.failures[0].findings[0].fault, Fault::Panicked);
    assert_eq!(swept.coverage.count("events.joined").runs, 3);
}

#[test]
fn a_sweep_ends_when_its_time_is_up_or_it_is_told_to() {
    let sweep = Sweep { seeds: 0..u64::MAX, limit: Some(Duration::ZERO), ..Sweep::default() };
    let swept = sweep.run(scenario, go_on);
    assert_eq!((swept.runs, swept.end), (1, End::Limit));
    let sweep = Sweep { seeds: 0..u64::MAX, ..Sweep::default() };
    let swept = sweep.run(scenario, |swept| {
        if swept.runs == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((swept.runs, swept.end), (2, End::Stopped));
    let nothing = Sweep { seeds: 9..9, ..Sweep::default() }.run(scenario, go_on);
    assert_eq!((nothing.runs, nothing.end), (0, End::Complete));
}
