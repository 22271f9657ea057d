//! A process that restarts before a member has noticed, without a seed that answers: the others see
//! its new instance, it sees the others, and nothing of its earlier life is left.

use std::time::Duration;

use telemetry_gossip_core::{Config, Event, Generation, Input, Instance, Status};
use telemetry_gossip_sim::{Cluster, Memory, Place, Rejoin, Settings, node_id};
use telemetry_gossip_tests::for_each_seed;

const SEEDS: u64 = 40;

/// The first node, which has no seeds.
const FIRST: usize = 0;

/// How long the restarted node may be unknown. It is probed once in each probe interval; where the
/// only probe of an interval finds its prober busy with another session, or the two disagree about
/// the round, in the next. Five intervals leave room for that, and then news takes the settle time
/// of `Config`: `gossip_interval * (3 + log10(n))`, 4 intervals for up to 99 nodes.
fn bound() -> Duration {
    let config = Config::default();
    config.probe_interval * 5 + config.gossip_interval * 4
}

fn cluster(nodes: usize, seed: u64) -> Cluster {
    let mut cluster = Cluster::new(Settings { nodes, seed, ..Settings::default() });
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

/// A node refutes a claim at generation 1 and is held at generation 2 by all.
fn refute(cluster: &mut Cluster, node: usize) {
    let other = cluster.taking_part().find(|&other| other != node).expect("there is another");
    let (id, address) = (node_id(node), cluster.simulation().address(node));
    let instance = Some(instance(cluster, node));
    cluster.tell(other, Input::Introduce { id, address, instance, generation: Generation(1) });
    let refuted = cluster.run_until(
        |cluster| cluster.taking_part().all(|at| cluster.generation(at, node) == Some(2)),
        Duration::from_secs(20),
    );
    assert!(refuted.is_some(), "n{node} never refuted");
    cluster.run_for(Duration::from_secs(3));
}

/// All that take part are whole, hold the node Alive in its instance, and nothing of its old life.
fn knows_the_new_life(cluster: &Cluster, node: usize) -> bool {
    let reborn = instance(cluster, node);
    cluster.views_complete_and_alive()
        && cluster.taking_part().all(|observer| {
            let held = cluster.held(observer, node);
            held.is_some_and(|held| held.status() == Status::Alive && held.instance() == reborn)
                && cluster.value(observer, node, "load").is_none()
        })
}

/// Whether a node has suspected or declared Dead a restarted one since then.
fn accused(cluster: &Cluster, node: usize, since: Duration) -> bool {
    cluster.log().iter().any(|logged| {
        let about = match logged.event {
            Event::Suspected { id, .. } | Event::Dead { id, .. } => Some(id),
            _ => None,
        };
        logged.at > since && about == Some(node_id(node))
    })
}

/// How the restarts of all seeds went, by whether the new instance is above the old one.
#[derive(Default)]
struct Orders {
    runs: u64,
    above: u64,
}

impl Orders {
    fn note(&mut self, old: Instance, new: Instance) {
        self.runs += 1;
        self.above += u64::from(new > old);
    }

    /// Of all seeds, some go either way.
    fn assert_both(&self) {
        assert!(self.runs < SEEDS || (0 < self.above && self.above < self.runs), "{} above", self.above);
    }
}

/// Restarts the first node of a cluster, or one whose only seed is dead.
fn unnoticed(nodes: usize, dead_seed: bool) {
    for down in [20, 200] {
        for generation in [0, 2] {
            let mut orders = Orders::default();
            for_each_seed(SEEDS, |seed| {
                let mut cluster = cluster(nodes + usize::from(dead_seed), seed);
                let node = if dead_seed { 1 } else { FIRST };
                if dead_seed {
                    // The seed of all others is gone for good, and they have noticed.
                    cluster.crash(FIRST);
                    let dead = cluster.run_until(
                        |cluster| cluster.everyone_holds(FIRST, Status::Dead),
                        Duration::from_secs(30),
                    );
                    assert!(dead.is_some(), "the crash of the seed is not known");
                    cluster.run_for(Duration::from_secs(3));
                }
                if generation > 0 {
                    refute(&mut cluster, node);
                }
                let old = instance(&cluster, node);
                cluster.crash(node);
                cluster.run_for(Duration::from_millis(down));
                cluster.restart_with(node, Memory::Lost, Place::Same, Rejoin::OldSeeds);
                orders.note(old, instance(&cluster, node));
                let back = cluster.now();
                let known = cluster.run_until(|cluster| knows_the_new_life(cluster, node), bound());
                let case = format!("{nodes} nodes, down for {down} ms, generation {generation}");
                assert!(known.is_some(), "{case}: the new life is not known to all, or it not all");
                assert!(!accused(&cluster, node, back), "{case}: it was accused");
            });
            orders.assert_both();
        }
    }
}

#[test]
fn the_first_of_two_nodes_is_seen_in_its_new_instance_and_sees_the_other() {
    unnoticed(2, false);
}

#[test]
fn the_first_of_five_nodes_is_seen_in_its_new_instance_and_sees_the_others() {
    unnoticed(5, false);
}

#[test]
fn the_first_of_fifty_nodes_is_seen_in_its_new_instance_and_sees_the_others() {
    unnoticed(50, false);
}

#[test]
fn one_of_two_nodes_whose_seed_is_dead_is_seen_in_its_new_instance() {
    unnoticed(2, true);
}

#[test]
fn one_of_five_nodes_whose_seed_is_dead_is_seen_in_its_new_instance() {
    unnoticed(5, true);
}

#[test]
fn one_of_fifty_nodes_whose_seed_is_dead_is_seen_in_its_new_instance() {
    unnoticed(50, true);
}

/// The second would join through the first, which knows nothing yet.
#[test]
fn the_first_node_and_one_that_joins_through_it_restart_at_once() {
    for_each_seed(SEEDS, |seed| {
        let mut cluster = cluster(5, seed);
        [0, 1].into_iter().for_each(|node| cluster.crash(node));
        cluster.run_for(Duration::from_millis(20));
        for node in [0, 1] {
            cluster.restart_with(node, Memory::Lost, Place::Same, Rejoin::OldSeeds);
        }
        let whole = |cluster: &Cluster| [0, 1].into_iter().all(|node| knows_the_new_life(cluster, node));
        assert!(cluster.run_until(whole, bound()).is_some(), "the cluster is not whole");
    });
}

#[test]
fn a_fleet_that_restarts_and_is_introduced_from_a_file_is_whole_again() {
    for_each_seed(SEEDS, |seed| {
        let mut cluster = cluster(8, seed);
        (0..8).for_each(|node| refute(&mut cluster, node));
        (0..8).for_each(|node| cluster.crash(node));
        cluster.run_for(Duration::from_millis(200));
        for node in 0..8 {
            cluster.restart_with(node, Memory::Lost, Place::Same, Rejoin::File);
        }
        let whole = |cluster: &Cluster| (0..8).all(|node| knows_the_new_life(cluster, node));
        assert!(cluster.run_until(whole, bound()).is_some(), "the fleet is not whole");
    });
}
