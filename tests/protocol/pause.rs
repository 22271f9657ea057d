//! Pauses: a node that was suspended does not accuse members by deadlines that passed meanwhile,
//! and learns of claims about itself from the first node that it contacts.

use std::time::Duration;

use telemetry_gossip_core::{Event, Status};
use telemetry_gossip_sim::{Cluster, Settings};
use telemetry_gossip_tests::for_each_seed;

const NODES: usize = 10;
const SLEEPER: usize = 3;

fn cluster(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(Settings::default().nodes(NODES).seed(seed));
    cluster.start_joined();
    cluster.run_for(Duration::from_millis(3_000 + seed * 13 % 1_000));
    cluster
}

/// The pauses last from 50 ms to 10 s.
#[test]
fn a_node_that_was_suspended_accuses_no_member() {
    for_each_seed(400, |seed| {
        let mut cluster = cluster(seed);
        cluster.pause(SLEEPER);
        cluster.run_for(Duration::from_millis(50 + seed * 25));
        cluster.resume(SLEEPER);
        let woke = cluster.now();
        cluster.run_for(Duration::from_secs(10));
        for (at, event) in cluster.events(SLEEPER).filter(|&(at, _)| at >= woke) {
            assert!(
                !matches!(event, Event::Suspected { .. } | Event::Dead { .. }),
                "{at:?}: {event:?}"
            );
        }
        assert!(cluster.views_complete_and_alive());
    });
}

#[test]
fn a_node_that_was_suspended_for_long_is_declared_dead_and_returns() {
    for_each_seed(200, |seed| {
        let mut cluster = cluster(seed);
        let before = cluster.generation(0, SLEEPER);
        cluster.pause(SLEEPER);
        let dead = cluster.run_until(
            |cluster| {
                (0..NODES)
                    .filter(|&node| node != SLEEPER)
                    .all(|node| cluster.status(node, SLEEPER) == Some(Status::Dead))
            },
            Duration::from_secs(30),
        );
        assert!(dead.is_some(), "the others never declared it dead");
        cluster.run_for(Duration::from_secs(20));
        cluster.resume(SLEEPER);
        let back = cluster.run_until(Cluster::views_complete_and_alive, Duration::from_secs(10));
        assert!(back.is_some(), "it is not held alive again");
        assert!(cluster.generation(0, SLEEPER) > before);
    });
}

/// Most nodes are suspended at the same time, as when a host of virtual machines is migrated.
#[test]
fn no_node_is_declared_dead_after_a_pause_of_most_nodes() {
    for_each_seed(200, |seed| {
        let mut cluster = cluster(seed);
        (0..7).for_each(|node| cluster.pause(node));
        cluster.run_for(Duration::from_secs(20));
        (0..7).for_each(|node| cluster.resume(node));
        let whole = cluster.run_until(Cluster::views_complete_and_alive, Duration::from_secs(30));
        assert!(whole.is_some(), "not all nodes are alive again");
        assert_eq!(cluster.simulation().counts().dead, 0);
    });
}
