//! Many nodes join at once through one seed: fast, and with little traffic of the seed.

use std::time::Duration;

use telemetry_gossip_sim::{Checking, Cluster, Quantiles, Settings};
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
