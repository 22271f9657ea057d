//! Many join at once through one seed: soon complete, and cheap for the seed.

use std::time::Duration;

use telemetry_gossip_sim::{Checking, Cluster, Quantiles, Settings};
use telemetry_gossip_tests::for_each_seed;

const NODES: usize = 250;

/// Complete within 3 s, for at most 20 KB a node and 200 KB for the seed, until the news of it has
/// been told.
///
/// A table of 250 has some 7 KB; a seed that gave it to each newcomer would send nearly 2 MB.
#[test]
fn two_hundred_fifty_join_through_one_seed() {
    let mut times = Vec::new();
    for_each_seed(20, |seed| {
        let settings = Settings::default().nodes(NODES).seed(seed).checking(Checking::Sampled);
        let mut cluster = Cluster::new(settings);
        times.push(cluster.start_joined());
        // Until the last rumor has been told as often as rumors are.
        cluster.run_for(Duration::from_secs(10));
        let sent = |node| cluster.usage(node).sent_bytes;
        let mean = (0..NODES).map(sent).sum::<u64>() / NODES as u64;
        let most = (1..NODES).map(sent).max().unwrap_or(0);
        println!(
            "seed {seed}: the node joined through sent {} B, the others {mean} B each, {most} B at most",
            sent(0)
        );
        assert!(mean <= 20_000, "{mean} B a node");
        assert!(sent(0) <= 200_000, "{} B by the seed", sent(0));
    });
    let times = Quantiles::of(times).expect("there were seeds");
    println!("{NODES} join through one seed: all views complete after {times}");
    assert!(times.max <= Duration::from_secs(3), "{times}");
}
