//! A fleet that follows a registry: versions spread, and whatever the store does, the fleet goes
//! on.

use std::time::Duration;

use telemetry_gossip_core::{Event, Status};
use telemetry_gossip_registry::follow::State;
use telemetry_gossip_registry::{ClusterId, Edition, Member, Stamp};
use telemetry_gossip_sim::{Cluster, Network, Registry, Settings, Share, Spawn, node_id};
use telemetry_gossip_tests::for_each_seed;

const MINUTE: Duration = Duration::from_secs(60);

fn first(members: usize) -> Edition {
    let members = (0..members).map(|index| (node_id(index), Member::default()));
    Edition::first(ClusterId::from_random([1; 16]), "", members).unwrap()
}

fn remove(edition: &Edition, index: usize) -> Edition {
    edition.remove(&[node_id(index)], None, &Stamp::new("ana", "test")).unwrap()
}

/// A cluster that has followed a registry for a minute.
fn following(nodes: usize, seed: u64) -> (Cluster, Registry) {
    let network = Network::losing(Share::percent(1));
    let mut cluster = Cluster::new(Settings::default().nodes(nodes).network(network).seed(seed));
    let mut registry = Registry::new(first(nodes));
    (0..nodes).for_each(|index| registry.follow(&cluster, index));
    cluster.start_joined();
    registry.run_for(&mut cluster, MINUTE);
    assert!((0..nodes).all(|index| registry.in_force(index) == Some(1)));
    (cluster, registry)
}

fn all_have(registry: &Registry, nodes: impl IntoIterator<Item = usize>, version: u64) -> bool {
    nodes.into_iter().all(|index| registry.in_force(index) == Some(version))
}

/// Whether no node has suspected a member, or held one Dead, since the start.
fn nobody_was_wronged(cluster: &Cluster) -> bool {
    let counts = cluster.simulation().counts();
    let suspected = cluster
        .log()
        .iter()
        .find(|logged| matches!(logged.event, Event::Suspected { .. } | Event::Dead { .. }));
    assert_eq!(suspected, None, "{counts:?}");
    cluster.simulation().false_deads() == 0
}

#[test]
fn a_version_is_in_force_at_240_nodes_3_seconds_after_one_of_them_is_told() {
    for_each_seed(3, |seed| {
        let (mut cluster, mut registry) = following(240, seed);
        registry.write(remove(&first(240), 239));
        registry.ask(&cluster, 7);
        let reads = registry.reads();
        let took = registry.run_until(
            &mut cluster,
            |registry, _| all_have(registry, 0..239, 2),
            Duration::from_secs(3),
        );
        assert!(took.is_some(), "seed {seed}");
        assert!(registry.reads() - reads <= 300, "a change costs one read per node, and few more");
    });
}

#[test]
fn without_any_hint_a_version_is_in_force_everywhere_within_40_seconds() {
    for_each_seed(5, |seed| {
        let (mut cluster, mut registry) = following(20, seed);
        registry.write(remove(&first(20), 19));
        let limit = Duration::from_secs(40);
        let all = |registry: &Registry, _: &Cluster| all_have(registry, 0..19, 2);
        assert!(registry.run_until(&mut cluster, all, limit).is_some(), "seed {seed}");
        assert!(registry.run_until(&mut cluster, |it, _| it.left(19).is_some(), limit).is_some());
    });
}

/// A template is rolled out host by host over two hours. A newcomer that half of the hosts do not
/// know yet is answered and told nothing; no member is accused, and in the end all is whole.
#[test]
fn files_that_differ_for_hours_wrong_nobody() {
    for_each_seed(3, |seed| {
        let nodes = 20;
        let (mut cluster, mut registry) = following(nodes, seed);
        let newcomer = cluster.spawn(Spawn::new(node_id(nodes)));
        registry.write(first(nodes).add([(node_id(nodes), Member::default())]).unwrap());
        (0..nodes).for_each(|index| registry.show(index, 1));
        registry.follow(&cluster, newcomer);
        cluster.join(newcomer, &[0, 10]);
        for host in 0..nodes {
            registry.run_for(&mut cluster, 6 * MINUTE);
            assert!(nobody_was_wronged(&cluster), "seed {seed}, host {host}");
            registry.show(host, None);
        }
        registry.run_for(&mut cluster, 2 * MINUTE);
        assert!(cluster.views_complete_and_alive(), "seed {seed}");
        assert!(all_have(&registry, 0..=nodes, 2));
        assert!(nobody_was_wronged(&cluster), "seed {seed}");
    });
}

/// It cannot read the registry, goes on by what it has, and learns nothing that is published after
/// its removal. Its host is not ready, since several members deny it.
#[test]
fn a_removed_node_that_is_cut_off_from_the_registry_learns_nothing_more() {
    for_each_seed(5, |seed| {
        let nodes = 10;
        let (mut cluster, mut registry) = following(nodes, seed);
        // Its store shows version 1 for ever.
        registry.show(9, 1);
        registry.write(remove(&first(nodes), 9));
        registry.ask(&cluster, 0);
        registry.run_for(&mut cluster, Duration::from_secs(10));
        assert!(all_have(&registry, 0..9, 2), "seed {seed}");
        cluster.publish(1, "k", b"after");
        registry.run_for(&mut cluster, 5 * MINUTE);
        assert_eq!(cluster.value(9, 1, "k"), None, "seed {seed}");
        assert!((0..9).all(|index| cluster.status(index, 9).is_none()));
        assert_eq!(registry.left(9), None);
    });
}

#[test]
fn a_node_that_members_deny_while_the_store_is_down_is_not_ready_and_stays() {
    for_each_seed(5, |seed| {
        let nodes = 10;
        let (mut cluster, mut registry) = following(nodes, seed);
        registry.crash(&mut cluster, 9);
        registry.write(remove(&first(nodes), 9));
        registry.run_for(&mut cluster, MINUTE);
        registry.set_down(true);
        registry.restart(&mut cluster, 9);
        let ready = |registry: &Registry| registry.status(9).unwrap().is_ready();
        assert!(ready(&registry), "it goes by what it has kept");
        let limit = Duration::from_secs(15);
        let denied = registry.run_until(&mut cluster, |it, _| !ready(it), limit);
        assert!(denied.is_some(), "seed {seed}: {:?}", registry.status(9));
        assert_eq!(registry.left(9), None, "it does not leave by what others say");
        // The store returns and says so.
        registry.set_down(false);
        let gone = registry.run_until(&mut cluster, |it, _| it.left(9).is_some(), MINUTE);
        assert!(gone.is_some(), "seed {seed}");
    });
}

#[test]
fn a_restored_backup_is_held_and_an_operator_ends_it_in_5_seconds() {
    for_each_seed(5, |seed| {
        let nodes = 20;
        let (mut cluster, mut registry) = following(nodes, seed);
        let two = remove(&first(nodes), 19);
        let three = remove(&two, 18);
        registry.write(two);
        registry.write(three.clone());
        registry.ask(&cluster, 0);
        registry.run_for(&mut cluster, MINUTE);
        assert!(all_have(&registry, 0..18, 3), "seed {seed}");

        let held_as = |registry: &Registry, word: &str| {
            let held = |index| match &registry.status(index).unwrap().state {
                State::Held(reason) => reason.word() == word,
                _ => false,
            };
            (0..18).all(held)
        };
        registry.restore(1);
        registry.run_for(&mut cluster, MINUTE);
        assert!(held_as(&registry, "rolled_back"), "seed {seed}: {:?}", registry.status(0));
        // Written on: another history with the same numbers.
        for index in [1, 2, 3] {
            let next = remove(registry.newest(), index);
            registry.write(next);
        }
        registry.run_for(&mut cluster, MINUTE);
        assert!(held_as(&registry, "forked"), "seed {seed}: {:?}", registry.status(0));
        assert!(all_have(&registry, 0..18, 3), "what was in force still is");

        // An operator decides for the fleet.
        let newest = registry.newest().version();
        registry.write(three.recover(newest).unwrap());
        registry.ask(&cluster, 0);
        let took = registry.run_until(
            &mut cluster,
            |registry, _| all_have(registry, 0..18, newest + 1),
            Duration::from_secs(5),
        );
        assert!(took.is_some(), "seed {seed}");
        assert!((0..18).all(|index| cluster.health(index).alive == 18));
        assert!(nobody_was_wronged(&cluster));
    });
}

/// A fleet restarts while the store is down: all go by what they have kept, and a node that was
/// removed before does not get in.
#[test]
fn a_fleet_that_restarts_while_the_store_is_down_is_whole_within_3_seconds() {
    for_each_seed(5, |seed| {
        let nodes = 20;
        let (mut cluster, mut registry) = following(nodes, seed);
        registry.crash(&mut cluster, 19);
        registry.write(remove(&first(nodes), 19));
        registry.run_for(&mut cluster, MINUTE);
        registry.set_down(true);
        for index in 0..19 {
            registry.crash(&mut cluster, index);
            registry.restart(&mut cluster, index);
            let whole = |_: &Registry, cluster: &Cluster| cluster.health(index).alive == 19;
            let took = registry.run_until(&mut cluster, whole, Duration::from_secs(3));
            assert!(took.is_some(), "seed {seed}, {index}");
            assert_eq!(cluster.health(index).cluster_config, Some(2));
        }
        registry.restart(&mut cluster, 19);
        registry.run_for(&mut cluster, 2 * MINUTE);
        assert!((0..19).all(|index| cluster.status(index, 19).is_none()), "seed {seed}");
        let others = |of: usize| (0..19).filter(move |&index| index != of);
        assert!((0..19).all(|of| cluster.all_hold(others(of), of, Status::Alive)), "seed {seed}");
    });
}
