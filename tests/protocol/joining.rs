//! Many nodes join at once through one seed: fast, and with little traffic of the seed.

use std::time::Duration;

use telemetry_gossip_core::Status;
use telemetry_gossip_sim::{
    Checking, Cluster, Network, Quantiles, Settings, Share, Spawn, node_id,
};
use telemetry_gossip_tests::for_each_seed;

const NODES: usize = 250;

/// All views are complete within 3 s. Until the last rumor has spread, the nodes send at most 40 KB
/// each on average, and the seed sends at most 200 KB.
///
/// A table of 250 members has about 7 KB. A seed that sent it to each new node would send nearly 2
/// MB. Each node asks each other one whether it is there, since it believes no other node about
/// that: a ping and an ack in both directions are 30 KB for 249 members.
#[test]
fn two_hundred_fifty_nodes_join_through_one_seed_within_three_seconds() {
    let mut times = Vec::new();
    for_each_seed(20, |seed| {
        let settings = Settings::default().nodes(NODES).seed(seed).checking(Checking::Sampled);
        let mut cluster = Cluster::new(settings);
        times.push(cluster.start_joined());
        // By then the last rumor has been sent as often as rumors are sent.
        cluster.run_for(Duration::from_secs(10));
        let sent = |node| cluster.usage(node).sent_bytes;
        let mean = (0..NODES).map(sent).sum::<u64>() / NODES as u64;
        let most = (1..NODES).map(sent).max().unwrap_or(0);
        println!(
            "seed {seed}: the node joined through sent {} B, the nodes sent {mean} B each on \
             average, the others at most {most} B",
            sent(0)
        );
        assert!(mean <= 40_000, "{mean} B per node");
        assert!(sent(0) <= 200_000, "{} B by the seed", sent(0));
    });
    let times = Quantiles::of(times).expect("there were seeds");
    println!("{NODES} nodes join through one seed: all views are complete after {times}");
    assert!(times.max <= Duration::from_secs(3), "{times}");
}

/// Starts nodes one after the other within a second, and joins them through the first one. Returns
/// the cluster, and the time from the first start until all nodes hold each other live.
fn started_within_a_second(nodes: usize, loss: u32, seed: u64) -> (Cluster, Duration) {
    let network = Network::losing(Share::percent(loss));
    let settings = Settings::default().nodes(1).network(network).seed(seed);
    let mut cluster = Cluster::new(settings.checking(Checking::Off).keep_events(false));
    let pause = Duration::from_secs(1) / u32::try_from(nodes).unwrap_or(1);
    for index in 1..nodes {
        cluster.run_for(pause);
        cluster.spawn(Spawn::new(node_id(index)));
        cluster.join(index, &[0]);
    }
    // With much loss, some member is suspected at nearly any time.
    let whole = |cluster: &Cluster| {
        (0..nodes).all(|index| {
            let table = cluster.node(index).membership();
            let live = table.count_of(Status::Alive) + table.count_of(Status::Suspected);
            live as usize == nodes
        })
    };
    let complete = cluster.run_until(whole, Duration::from_secs(60));
    assert!(complete.is_some(), "not all nodes know each other");
    let took = cluster.now();
    (cluster, took)
}

/// The times until the views are complete, and the mean bytes per node until then. No node sends
/// more than 1 KB/s from 2 s after that on: rows that came in bulk are no news.
fn join_under_loss(nodes: usize, loss: u32, seeds: u64) -> (Quantiles, u64) {
    let (mut times, mut most) = (Vec::new(), 0);
    for_each_seed(seeds, |seed| {
        let (mut cluster, took) = started_within_a_second(nodes, loss, seed);
        times.push(took);
        let sent = |cluster: &Cluster| -> Vec<u64> {
            (0..nodes).map(|index| cluster.usage(index).sent_bytes).collect()
        };
        most = most.max(sent(&cluster).iter().sum::<u64>() / nodes as u64);
        cluster.run_for(Duration::from_secs(2));
        let before = sent(&cluster);
        cluster.run_for(Duration::from_secs(5));
        let rates = sent(&cluster).into_iter().zip(before).map(|(now, then)| (now - then) / 5);
        let busiest = rates.max().unwrap_or(0);
        assert!(busiest <= 1_000 || loss > 5, "a node still sends {busiest} B/s");
    });
    let times = Quantiles::of(times).expect("there were seeds");
    println!("{nodes} nodes, {loss} % loss: complete after {times}, at most {most} B per node");
    (times, most)
}

#[test]
fn two_hundred_fifty_nodes_join_under_loss_within_three_seconds() {
    let (times, most) = join_under_loss(250, 5, 5);
    assert!(times.max <= Duration::from_millis(2_600), "{times}");
    assert!(most <= 40_000, "{most} B per node");
}

#[test]
fn twenty_nodes_join_under_loss_within_two_seconds() {
    let (times, _) = join_under_loss(20, 5, 100);
    assert!(times.median <= Duration::from_secs(2), "{times}");
}

/// `cargo test --release -p telemetry-gossip-tests --test protocol joining -- --ignored`
#[test]
#[ignore = "takes minutes"]
fn nodes_join_in_any_number_and_under_any_loss() {
    for (nodes, loss, seeds, limit, bytes) in [
        (250, 0, 50, 2_600, 34_000),
        (250, 1, 50, 2_600, 35_000),
        (250, 5, 200, 2_600, 40_000),
        (250, 20, 50, 10_000, 60_000),
        (1_000, 5, 10, 4_000, 170_000),
    ] {
        let (times, most) = join_under_loss(nodes, loss, seeds);
        assert!(times.max <= Duration::from_millis(limit), "{nodes} nodes, {loss} %: {times}");
        assert!(most <= bytes, "{nodes} nodes, {loss} % loss: {most} B per node");
    }
}
