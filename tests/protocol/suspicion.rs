//! Suspicion: a member that no node can reach becomes Suspected, and after a configurable timeout
//! Dead. A member that recovers while it is Suspected claims Alive at a higher generation, which
//! clears the suspicion at all nodes.

use std::time::Duration;

use telemetry_gossip_core::{Config, Event, Status, SuspicionTimeout};
use telemetry_gossip_sim::{Cluster, Settings};
use telemetry_gossip_tests::for_each_seed;

const NODES: usize = 8;
const TARGET: usize = 5;
const TIMEOUT: Duration = Duration::from_secs(5);
const PERIOD: Duration = Duration::from_millis(100);

/// A cluster with a gossip interval of 100 ms and a suspicion timeout of 5 s.
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

/// The time from `start` until the first node held the target with this status.
fn first(cluster: &Cluster, start: Duration, status: Status) -> Duration {
    let matches = |event: &Event<u32>| match event {
        Event::Suspected { id, .. } => status == Status::Suspected && id.as_str() == "n5",
        Event::Dead { id, .. } => status == Status::Dead && id.as_str() == "n5",
        _ => false,
    };
    let found = cluster.log().iter().find(|logged| logged.node != TARGET && matches(&logged.event));
    found.expect("the event is in the log").at - start
}

#[test]
fn an_unreachable_member_is_suspected_and_after_the_timeout_dead() {
    for_each_seed(200, |seed| {
        let mut cluster = cluster(seed);
        let start = cluster.now();
        cluster.partition([TARGET], others());

        // Each of seven nodes probes its seven members in turn, one per second. At worst the first
        // probe of the target starts after 2n - 1 periods, and fails 0.6 s later.
        let suspected = |cluster: &Cluster| cluster.all_hold(others(), TARGET, Status::Suspected);
        let limit = Duration::from_secs(2 * 7 + 1);
        assert!(cluster.run_until(suspected, limit).is_some(), "not all nodes suspect it");

        // A node that the rumor of the death misses learns of it by anti-entropy, once its table
        // and that of a probed member have differed for the settle time: within three probe
        // intervals.
        let dead = |cluster: &Cluster| cluster.all_hold(others(), TARGET, Status::Dead);
        assert!(
            cluster.run_until(dead, TIMEOUT + Duration::from_secs(3)).is_some(),
            "not all nodes hold it dead"
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
        assert!(dead.is_some(), "not all nodes hold it dead");
        let held = first(&cluster, start, Status::Dead) - first(&cluster, start, Status::Suspected);
        // The timeout, one tick of the simulated clock, and the latency of a datagram.
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
            "not all nodes suspect it"
        );

        // A node probes the target within a few periods, notifies it of the suspicion, and receives
        // the refutation.
        cluster.heal();
        let cleared = cluster.run_until(Cluster::views_complete_and_alive, TIMEOUT);
        assert!(cleared.is_some(), "the suspicion was not cleared in time");
        assert_eq!(cluster.simulation().counts().dead, 0, "a node was declared dead");
        assert!(
            cluster.generation(0, TARGET) >= before.map(|generation| generation + 2),
            "the suspicion is at G+1, the refutation at G+2"
        );
        let refuted =
            cluster.events(TARGET).any(|(_, event)| matches!(event, Event::Refuted { .. }));
        assert!(refuted, "the target never refuted");
    });
}

/// A node that receives nothing for a while does not bring down members that all others reach.
#[test]
fn suspicions_of_a_node_that_received_nothing_are_refuted() {
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
