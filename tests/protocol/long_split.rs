//! A partition into two halves that lasts, and the many names of members that are gone by then.
//!
//! The halves find each other as the dead are contacted, now and then. Names that have piled up
//! over the months must not keep them from it.

use std::time::Duration;

use telemetry_gossip_core::Status;
use telemetry_gossip_sim::{Checking, Cluster, Quantiles, Settings};
use telemetry_gossip_tests::for_each_seed;

/// A cluster in which `gone` members have come and gone: half of them crashed, half left.
fn with_dead_names(nodes: usize, gone: usize, seed: u64) -> Cluster {
    let settings = Settings::default().nodes(nodes).seed(seed).checking(Checking::Sampled);
    let mut cluster = Cluster::new(settings);
    cluster.start_joined();
    let mut names = 0;
    while names < gone {
        let batch = (nodes - 1).min(50).min(gone - names);
        let guests: Vec<usize> = (0..batch).map(|_| cluster.add()).collect();
        cluster.run_for(Duration::from_secs(5));
        for &guest in &guests {
            if guest % 2 == 0 { cluster.leave(guest) } else { cluster.crash(guest) }
        }
        cluster.run_for(Duration::from_secs(5));
        guests.iter().filter(|&&guest| guest % 2 == 0).for_each(|&guest| cluster.crash(guest));
        names += batch;
    }
    cluster.run_for(Duration::from_secs(30));
    cluster
}

/// How long a split into halves takes to heal.
fn heal(cluster: &mut Cluster, nodes: usize, split_for: Duration) -> Duration {
    cluster.partition(0..nodes / 2, nodes / 2..nodes);
    cluster.run_for(split_for);
    assert_ne!(cluster.status(0, nodes - 1), Some(Status::Alive));
    cluster.heal();
    cluster.run_until(Cluster::views_complete_and_alive, Duration::from_secs(300)).unwrap()
}

fn merges(nodes: usize, gone: usize, seeds: u64) {
    let mut times = Vec::new();
    for_each_seed(seeds, |seed| {
        let mut cluster = with_dead_names(nodes, gone, seed);
        times.push(heal(&mut cluster, nodes, Duration::from_secs(120)));
    });
    let times = Quantiles::of(times).expect("there were seeds");
    println!("{nodes} nodes and {gone} dead names: whole again after {times}");
    assert!(times.max <= Duration::from_secs(30), "{times}");
}

#[test]
fn halves_merge_soon_whatever_names_are_gone() {
    for (nodes, gone) in [(4, 0), (4, 500), (10, 0), (10, 500)] {
        merges(nodes, gone, 5);
    }
}

/// `cargo test --release -p telemetry-gossip-tests --test protocol halves_of_250 -- --ignored`
#[test]
#[ignore = "takes minutes"]
fn halves_of_250_merge_soon_whatever_names_are_gone() {
    for gone in [0, 500] {
        merges(250, gone, 5);
    }
}

/// The members of the other half are forgotten after a day, and no node has a seed that it could
/// ask: each keeps a few addresses of those that it had to forget.
#[test]
fn halves_find_each_other_after_more_than_a_day() {
    let mut times = Vec::new();
    for_each_seed(2, |seed| {
        let mut cluster = Cluster::new(Settings::default().nodes(10).seed(seed));
        cluster.start_known();
        cluster.run_for(Duration::from_secs(10));
        times.push(heal(&mut cluster, 10, Duration::from_secs(25 * 3_600)));
    });
    let times = Quantiles::of(times).expect("there were seeds");
    println!("after 25 hours: whole again after {times}");
    assert!(times.max <= Duration::from_secs(60), "{times}");
}
