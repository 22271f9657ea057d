//! Criterion 7: whom no node can reach becomes Suspected, then after a configurable timeout Dead.
//! Who recovers while Suspected says Alive at a higher generation, and that clears the suspicion
//! everywhere.

use std::time::Duration;

use telemetry_gossip_core::{Config, Event, Status, SuspicionTimeout};
use telemetry_gossip_sim::{Cluster, Settings};
use telemetry_gossip_tests::for_each_seed;

const NODES: usize = 8;
const TARGET: usize = 5;
const TIMEOUT: Duration = Duration::from_secs(5);
const PERIOD: Duration = Duration::from_millis(100);

/// 100 ms gossip and 5 s suspicion, as the requirement suggests for tests.
fn cluster(seed: u64) -> Cluster {
    let config =
        Config::default().gossip_interval(PERIOD).suspicion(SuspicionTimeout::Fixed(TIMEOUT));
    let mut cluster = Cluster::new(Settings::default().nodes(NODES).config(config).seed(seed));
    cluster.start_joined();
    cluster.run_for(Duration::from_secs(5));
    cluster
}

fn others() -> impl Iterator<Item = usize> + Clone {
    (0..NODES).filter(|&node| node != TARGET)
}

/// When the first node came to hold the target so, since `start`.
fn first(cluster: &Cluster, start: Duration, status: Status) -> Duration {
    let matches = |event: &Event<u32>| match event {
        Event::Suspected { id, .. } => status == Status::Suspected && id.as_str() == "n5",
        Event::Dead { id, .. } => status == Status::Dead && id.as_str() == "n5",
        _ => false,
    };
    let found = cluster.log().iter().find(|logged| logged.node != TARGET && matches(&logged.event));
    found.expect("it is in the log").at - start
}

#[test]
fn whom_nobody_reaches_is_suspected_and_after_the_timeout_dead() {
    for_each_seed(200, |seed| {
        let mut cluster = cluster(seed);
        let start = cluster.now();
        cluster.partition([TARGET], others());

        // Seven probers take each of seven members in turn every second: someone starts on the
        // target within 2n - 1 periods at worst, and fails 0.6 s later.
        let suspected = |cluster: &Cluster| cluster.all_hold(others(), TARGET, Status::Suspected);
        let limit = Duration::from_secs(2 * 7 + 1);
        assert!(cluster.run_until(suspected, limit).is_some(), "not suspected by all");

        // Whom the rumor of the death misses learns of it by a sync, once its table and a probed
        // member's have differed for the settling time: within three probe intervals.
        let dead = |cluster: &Cluster| cluster.all_hold(others(), TARGET, Status::Dead);
        assert!(
            cluster.run_until(dead, TIMEOUT + Duration::from_secs(3)).is_some(),
            "not dead for all"
        );

        let held = first(&cluster, start, Status::Dead) - first(&cluster, start, Status::Suspected);
        assert!(held >= TIMEOUT, "dead after only {held:?} of suspicion");
    });
}

#[test]
fn the_timeout_is_configurable() {
    for_each_seed(200, |seed| {
        let timeout = Duration::from_millis(1_000 + 500 * (seed % 20));
        let config = Config::default().suspicion(SuspicionTimeout::Fixed(timeout));
        let mut cluster = Cluster::new(Settings::default().nodes(NODES).config(config).seed(seed));
        cluster.start_joined();
        let start = cluster.now();
        cluster.crash(TARGET);
        let dead = cluster.run_until(
            |cluster| cluster.everyone_holds(TARGET, Status::Dead),
            Duration::from_secs(40),
        );
        assert!(dead.is_some(), "not dead for all");
        let held = first(&cluster, start, Status::Dead) - first(&cluster, start, Status::Suspected);
        // One tick of the simulated clock and the way of one datagram beside the timeout.
        assert!(
            held >= timeout && held < timeout + Duration::from_millis(100),
            "{held:?} for {timeout:?}"
        );
    });
}

#[test]
fn a_refuted_suspicion_is_cleared_everywhere() {
    for_each_seed(200, |seed| {
        let mut cluster = cluster(seed);
        let before = cluster.generation(0, TARGET);
        cluster.partition([TARGET], others());
        let suspected = |cluster: &Cluster| cluster.all_hold(others(), TARGET, Status::Suspected);
        assert!(
            cluster.run_until(suspected, Duration::from_secs(15)).is_some(),
            "not suspected by all"
        );

        // Someone probes the target within a few periods, says what it is suspected of, and hears
        // the refutation.
        cluster.heal();
        let cleared = cluster.run_until(Cluster::views_complete_and_alive, TIMEOUT);
        assert!(cleared.is_some(), "the suspicion was not cleared in time");
        assert_eq!(cluster.simulation().counts().dead, 0, "somebody was declared dead");
        assert!(
            cluster.generation(0, TARGET) >= before.map(|generation| generation + 2),
            "G+1 and G+2"
        );
        let refuted =
            cluster.events(TARGET).any(|(_, event)| matches!(event, Event::Refuted { .. }));
        assert!(refuted, "the target never refuted");
    });
}

/// One accuser that heard nothing for a while does not bring down a node that all others reach.
#[test]
fn a_suspicion_by_one_that_was_deaf_is_refuted_once_it_hears_again() {
    for_each_seed(200, |seed| {
        let mut cluster = cluster(seed);
        cluster.cut(others().chain([TARGET]).filter(|&node| node != 0), [0]);
        cluster.run_for(Duration::from_secs(3));
        cluster.heal();
        cluster.run_for(Duration::from_secs(15));
        assert!(cluster.views_complete_and_alive());
        assert_eq!(cluster.simulation().counts().dead, 0);
    });
}
