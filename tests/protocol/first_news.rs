//! What a node publishes before, during and right after its join, and right before its leave,
//! reaches all others.

use std::time::Duration;

use telemetry_gossip_core::{Event, Status};
use telemetry_gossip_sim::{
    Checking, Cluster, Network, Quantiles, Settings, Share, Spawn, node_id,
};
use telemetry_gossip_tests::for_each_seed;

const NODES: usize = 50;

fn cluster(nodes: usize, loss: u32, seed: u64) -> Cluster {
    let network = Network::losing(Share::percent(loss));
    let settings = Settings::default().nodes(nodes).network(network).seed(seed);
    Cluster::new(settings.checking(Checking::Off))
}

/// A cluster of nodes that have known each other for some seconds.
fn calm_cluster(nodes: usize, loss: u32, seed: u64) -> Cluster {
    let mut cluster = cluster(nodes, loss, seed);
    cluster.start_known();
    // Newcomers meet the probes and timers of the others at another time in each run.
    cluster.run_for(Duration::from_secs(10) + Duration::from_millis(seed * 37 % 1_000));
    cluster
}

/// The time until all other nodes have what `of` has published under the key `first`.
fn time_to_all(cluster: &mut Cluster, of: usize, limit: Duration) -> Duration {
    let all_have_it = |cluster: &Cluster| {
        let mut others = cluster.taking_part().filter(|&other| other != of);
        others.all(|other| cluster.value(other, of, "first").is_some())
    };
    cluster.run_until(all_have_it, limit).unwrap_or_else(|| panic!("not all have it in {limit:?}"))
}

/// A newcomer publishes `after` its start, while its join is under way or just over.
fn news_of_a_newcomer(loss: u32, after: Duration, seed: u64) -> Duration {
    let mut cluster = calm_cluster(NODES - 1, loss, seed);
    let newcomer = cluster.add();
    cluster.run_for(after);
    cluster.publish(newcomer, "first", &[7; 64]);
    time_to_all(&mut cluster, newcomer, Duration::from_secs(3))
}

#[test]
fn what_a_newcomer_publishes_reaches_all_soon_after_its_join() {
    for loss in [0, 5] {
        let mut times = Vec::new();
        for_each_seed(60, |seed| {
            let after = [0, 5, 300][(seed % 3) as usize];
            times.push(news_of_a_newcomer(loss, Duration::from_millis(after), seed));
        });
        let Some(times) = Quantiles::of(times) else { continue };
        println!("{NODES} nodes, {loss} % loss: the first news of a newcomer takes {times}");
        assert!(times.median <= Duration::from_millis(200), "{loss} % loss: {times}");
    }
}

/// Each node publishes as soon as it starts, when it knows no other one.
#[test]
fn what_all_publish_as_they_start_reaches_all() {
    for loss in [0, 5] {
        let mut times = Vec::new();
        for_each_seed(10, |seed| {
            let mut cluster = cluster(1, loss, seed);
            for index in 1..NODES {
                cluster.spawn(Spawn::new(node_id(index)));
                cluster.join(index, &[0]);
                cluster.publish(index, "first", &[7; 64]);
                cluster.run_for(Duration::from_millis(20));
            }
            let all_have_all = |cluster: &Cluster| {
                (0..NODES).all(|of| {
                    let mut others = (0..NODES).filter(|&other| other != of && of > 0);
                    others.all(|other| cluster.value(other, of, "first").is_some())
                })
            };
            let took = cluster.run_until(all_have_all, Duration::from_secs(3));
            times.push(took.expect("not all have all in 3 s"));
        });
        let Some(times) = Quantiles::of(times) else { continue };
        println!("{NODES} nodes that publish as they start, {loss} % loss: {times} after the last");
    }
}

#[test]
fn the_last_word_before_a_leave_reaches_all() {
    for loss in [0, 5] {
        for_each_seed(20, |seed| {
            let mut cluster = calm_cluster(NODES, loss, seed);
            let leaver = (seed * 7 % NODES as u64) as usize;
            cluster.publish(leaver, "first", b"done");
            cluster.leave(leaver);
            time_to_all(&mut cluster, leaver, Duration::from_secs(3));
            let known = |cluster: &Cluster| cluster.everyone_holds(leaver, Status::Left);
            assert!(cluster.run_until(known, Duration::from_secs(5)).is_some());
            cluster.run_for(Duration::from_secs(3));
            let ends = cluster
                .events(leaver)
                .any(|(_, event)| matches!(event, Event::LeaveCompleted { .. }));
            assert!(ends, "the leave never ends");
        });
    }
}
