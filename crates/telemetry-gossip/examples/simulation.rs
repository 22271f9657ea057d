//! A simulation test of a program that embeds the core: the same nodes as in production, on a
//! simulated network, in virtual time. Run it by `cargo test --example simulation`.

#[cfg(test)]
use {
    std::time::Duration,
    telemetry_gossip_core::Status,
    telemetry_gossip_sim::{Cluster, Settings},
};

#[test]
fn both_sides_of_a_partition_merge_after_it_heals() {
    for seed in 0..20 {
        let mut settings = Settings::default();
        println!("seed {seed}"); // printed if the test fails: the same seed fails again
        (settings.nodes, settings.seed) = (10, seed);
        let mut cluster = Cluster::new(settings);
        cluster.start_joined();
        cluster.publish(9, "role", b"spare");

        cluster.partition(0..7, 7..10);
        let sees = |cluster: &Cluster, from, to| cluster.status(from, to) == Some(Status::Dead);
        let lost = |cluster: &Cluster| (0..7).all(|a| (7..10).all(|b| sees(cluster, a, b)));
        assert!(cluster.run_until(lost, Duration::from_secs(30)).is_some());
        // The smaller side declares no member dead.
        assert!((7..10).all(|b| (0..7).all(|a| !sees(&cluster, b, a))));

        cluster.heal();
        let merged = |cluster: &Cluster| {
            cluster.views_complete_and_alive()
                && (0..10).all(|node| cluster.value(node, 9, "role") == Some(b"spare"))
        };
        assert!(cluster.run_until(merged, Duration::from_secs(30)).is_some());
    }
}

fn main() {}
