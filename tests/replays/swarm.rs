//! Random faults, then a calm phase. All rules hold throughout, and in the end all views are
//! complete and Alive, even if some nodes stay down.

use telemetry_gossip_sim::{EventCounts, Scenario, run};
use telemetry_gossip_tests::for_each_seed;

fn swarm(seeds: u64) {
    let (mut seen, mut runs) = (EventCounts::default(), 0);
    for_each_seed(seeds, |seed| {
        runs += 1;
        let scenario = Scenario::swarm(seed);
        let report = run(&scenario, seed).expect("random scenarios are valid");
        assert!(report.passed(), "{report}\n\n{}", scenario.to_toml());
        seen.suspected += report.events.suspected;
        seen.refuted += report.events.refuted;
        seen.dead += report.events.dead;
        seen.left += report.events.left;
        seen.isolated += report.events.isolated;
        seen.moved += report.events.moved;
    });
    // Runs in which nothing happens are no evidence. Fewer runs may lack one kind of event by
    // chance.
    if runs >= 50 {
        let counts =
            [seen.suspected, seen.refuted, seen.dead, seen.left, seen.isolated, seen.moved];
        assert!(counts.into_iter().all(|count| count > 0), "{seen:?}");
    }
}

#[test]
fn after_random_faults_every_view_is_complete_and_alive_again() {
    swarm(100);
}

#[test]
#[ignore = "takes minutes: 5,000 seeds"]
fn after_random_faults_every_view_is_complete_and_alive_again_in_5_000_seeds() {
    swarm(5_000);
}
