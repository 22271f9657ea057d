//! Restarts that no member notices, without a seed that answers: the others learn of the new
//! instance, it learns of the others, and nothing of the earlier instance is left.

use std::time::Duration;

use telemetry_gossip_core::{Config, Event, Generation, Input, Instance, Status};
use telemetry_gossip_sim::{Cluster, Memory, Place, Rejoin, Settings, node_id};
use telemetry_gossip_tests::for_each_seed;

const SEEDS: u64 = 40;

/// The first node, which has no seeds.
const FIRST: usize = 0;

/// The time within which all nodes must know the new instance. The restarted node is probed once
/// per probe interval, or in the next one if the prober is busy with another session, or if the two
/// disagree about the round. Five intervals leave room for that. Then news takes the settle time of
/// `Config`: `gossip_interval * (3 + log10(n))`, which is 4 intervals for up to 99 nodes.
fn bound() -> Duration {
    let config = Config::default();
    config.probe_interval * 5 + config.gossip_interval * 4
}

fn cluster(nodes: usize, seed: u64) -> Cluster {
    let mut cluster = Cluster::new(Settings::default().nodes(nodes).seed(seed));
    cluster.start_joined();
    for node in 0..nodes {
        cluster.publish(node, "load", b"old");
    }
    cluster.run_for(Duration::from_secs(5));
    cluster
}

fn instance(cluster: &Cluster, node: usize) -> Instance {
    cluster.node(node).me().instance()
}

/// Lets a node refute a claim at generation 1, so that all nodes hold it at generation 2.
fn refute(cluster: &mut Cluster, node: usize) {
    let other = cluster.taking_part().find(|&other| other != node).expect("there is another node");
    let (id, address) = (node_id(node), cluster.simulation().address(node));
    let instance = Some(instance(cluster, node));
    cluster.command(other, Input::Introduce { id, address, instance, generation: Generation(1) });
    let refuted = cluster.run_until(
        |cluster| cluster.taking_part().all(|at| cluster.generation(at, node) == Some(2)),
        Duration::from_secs(20),
    );
    assert!(refuted.is_some(), "n{node} never refuted");
    cluster.run_for(Duration::from_secs(3));
}

/// Whether all views are complete, and hold the node Alive with its new instance and without the
/// telemetry of the earlier one.
fn knows_the_new_instance(cluster: &Cluster, node: usize) -> bool {
    let new = instance(cluster, node);
    cluster.views_complete_and_alive()
        && cluster.taking_part().all(|observer| {
            let held = cluster.held(observer, node);
            held.is_some_and(|held| held.status() == Status::Alive && held.instance() == new)
                && cluster.value(observer, node, "load").is_none()
        })
}

/// Whether any node has suspected the node or declared it Dead since then.
fn accused(cluster: &Cluster, node: usize, since: Duration) -> bool {
    cluster.log().iter().any(|logged| {
        let about = match logged.event {
            Event::Suspected { id, .. } | Event::Dead { id, .. } => Some(id),
            _ => None,
        };
        logged.at > since && about == Some(node_id(node))
    })
}

/// Counts the restarts in which the new instance is above the old one.
#[derive(Default)]
struct Orders {
    runs: u64,
    above: u64,
}

impl Orders {
    fn add(&mut self, old: Instance, new: Instance) {
        self.runs += 1;
        self.above += u64::from(new > old);
    }

    /// Asserts that both orders occurred, given enough seeds.
    fn assert_both(&self) {
        assert!(
            self.runs < SEEDS || (0 < self.above && self.above < self.runs),
            "{} above",
            self.above
        );
    }
}

/// Restarts the first node of a cluster, or one whose only seed is dead.
fn restart_unnoticed(nodes: usize, dead_seed: bool) {
    for down in [20, 200] {
        for generation in [0, 2] {
            let mut orders = Orders::default();
            for_each_seed(SEEDS, |seed| {
                let mut cluster = cluster(nodes + usize::from(dead_seed), seed);
                let node = if dead_seed { 1 } else { FIRST };
                if dead_seed {
                    // The seed of all others has crashed for good, and they have noticed.
                    cluster.crash(FIRST);
                    let dead = cluster.run_until(
                        |cluster| cluster.everyone_holds(FIRST, Status::Dead),
                        Duration::from_secs(30),
                    );
                    assert!(dead.is_some(), "not all nodes know of the crash of the seed");
                    cluster.run_for(Duration::from_secs(3));
                }
                if generation > 0 {
                    refute(&mut cluster, node);
                }
                let old = instance(&cluster, node);
                cluster.crash(node);
                cluster.run_for(Duration::from_millis(down));
                cluster.restart_with(node, Memory::Lost, Place::Same, Rejoin::OldSeeds);
                orders.add(old, instance(&cluster, node));
                let back = cluster.now();
                let known =
                    cluster.run_until(|cluster| knows_the_new_instance(cluster, node), bound());
                let case = format!("{nodes} nodes, down for {down} ms, generation {generation}");
                assert!(known.is_some(), "{case}: not all nodes know each other");
                assert!(!accused(&cluster, node, back), "{case}: it was accused");
            });
            orders.assert_both();
        }
    }
}

#[test]
fn the_first_of_two_nodes_and_the_other_find_each_other_after_a_restart() {
    restart_unnoticed(2, false);
}

#[test]
fn the_first_of_five_nodes_and_the_others_find_each_other_after_a_restart() {
    restart_unnoticed(5, false);
}

#[test]
fn the_first_of_fifty_nodes_and_the_others_find_each_other_after_a_restart() {
    restart_unnoticed(50, false);
}

#[test]
fn one_of_two_nodes_with_a_dead_seed_is_found_after_a_restart() {
    restart_unnoticed(2, true);
}

#[test]
fn one_of_five_nodes_with_a_dead_seed_is_found_after_a_restart() {
    restart_unnoticed(5, true);
}

#[test]
fn one_of_fifty_nodes_with_a_dead_seed_is_found_after_a_restart() {
    restart_unnoticed(50, true);
}

/// The second node joins through the first, which knows no other node either.
#[test]
fn the_first_node_and_one_that_joins_through_it_can_restart_together() {
    for_each_seed(SEEDS, |seed| {
        let mut cluster = cluster(5, seed);
        [0, 1].into_iter().for_each(|node| cluster.crash(node));
        cluster.run_for(Duration::from_millis(20));
        for node in [0, 1] {
            cluster.restart_with(node, Memory::Lost, Place::Same, Rejoin::OldSeeds);
        }
        let whole = |cluster: &Cluster| {
            [0, 1].into_iter().all(|node| knows_the_new_instance(cluster, node))
        };
        assert!(cluster.run_until(whole, bound()).is_some(), "not all nodes know each other");
    });
}

#[test]
fn a_fleet_introduced_from_a_file_finds_itself_after_a_restart_of_all() {
    for_each_seed(SEEDS, |seed| {
        let mut cluster = cluster(8, seed);
        (0..8).for_each(|node| refute(&mut cluster, node));
        (0..8).for_each(|node| cluster.crash(node));
        cluster.run_for(Duration::from_millis(200));
        for node in 0..8 {
            cluster.restart_with(node, Memory::Lost, Place::Same, Rejoin::File);
        }
        let whole = |cluster: &Cluster| (0..8).all(|node| knows_the_new_instance(cluster, node));
        assert!(cluster.run_until(whole, bound()).is_some(), "not all nodes know each other");
    });
}

/// The snapshot is older than the last publications: without a new instance, the node would use
/// versions again that the members hold with other contents, and they would never take these in.
#[test]
fn what_a_node_publishes_after_it_was_restored_reaches_all() {
    const NODES: usize = 10;
    for_each_seed(100, |seed| {
        let mut cluster = cluster(NODES, seed);
        cluster.publish(3, "load", b"1");
        cluster.run_for(Duration::from_secs(2));
        cluster.save(3);
        for value in [b"2", b"3", b"4"] {
            cluster.publish(3, "load", value);
            cluster.run_for(Duration::from_secs(1));
        }
        cluster.crash(3);
        cluster.run_for(Duration::from_millis(50 + seed * 150));
        cluster.restart(3, Memory::Saved);
        let values: [&[u8]; 3] = [b"5", b"6", b"7"];
        for value in values.iter().take(seed as usize % 4) {
            cluster.publish(3, "load", value);
        }
        let own = cluster.value(3, 3, "load").map(<[u8]>::to_vec);
        let all = |cluster: &Cluster| {
            cluster.views_complete_and_alive()
                && (0..NODES).all(|it| cluster.value(it, 3, "load").map(<[u8]>::to_vec) == own)
        };
        assert!(cluster.run_until(all, Duration::from_secs(30)).is_some(), "{own:?}");
    });
}
