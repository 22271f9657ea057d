//! The simulator itself: processes, clocks, queues and addresses do what they say.

use std::borrow::Cow;
use std::time::Duration;

use telemetry_gossip_core::{Config, ConfigError, Event, Input, Status};

use super::*;
use crate::cluster::{Cluster, node_id};
use crate::process::{Memory, Place, Rejoin, Spawn};

fn cluster(nodes: usize, seed: u64) -> Cluster {
    let mut cluster = Cluster::new(Settings { nodes, seed, ..Settings::default() });
    cluster.start_joined();
    cluster
}

#[test]
fn one_seed_gives_one_trace_and_another_seed_another() {
    let hash = |seed| {
        let mut cluster = cluster(6, seed);
        cluster.crash(2);
        cluster.run_for(Duration::from_secs(10));
        cluster.simulation().trace_hash()
    };
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
}

#[test]
fn the_logs_of_two_runs_of_one_seed_are_equal_event_by_event() {
    let run = || {
        let mut cluster = cluster(6, 9);
        cluster.pause(1);
        cluster.run_for(Duration::from_secs(5));
        cluster.resume(1);
        cluster.run_for(Duration::from_secs(10));
        cluster
    };
    assert_eq!(run().log(), run().log());
}

#[test]
fn settings_that_no_node_can_run_with_are_refused() {
    let config = Config { mtu: 1, ..Config::default() };
    let refused = Simulation::new(&Settings { config, ..Settings::default() });
    assert!(matches!(refused, Err(ConfigError::Range { field: "mtu", .. })));
}

#[test]
fn a_crashed_node_sends_nothing_and_takes_nothing_in() {
    let mut cluster = cluster(4, 1);
    cluster.crash(2);
    let before = cluster.usage(2);
    cluster.run_for(Duration::from_secs(20));
    assert_eq!(cluster.usage(2), before);
    assert_eq!(cluster.simulation().condition(2), Some(Condition::Down));
    assert!(cluster.simulation().traffic().nobody > 0, "nobody ever asked for it");
    assert!(cluster.simulation_mut().command(2, Input::Leave).is_err());
}

#[test]
fn a_paused_nodes_datagrams_wait_until_it_goes_on() {
    let mut cluster = cluster(4, 1);
    cluster.pause(2);
    let before = cluster.usage(2);
    cluster.run_for(Duration::from_secs(2));
    assert_eq!(cluster.usage(2), before);
    cluster.resume(2);
    assert!(cluster.usage(2).received > before.received, "nothing waited");
}

#[test]
fn what_a_paused_node_cannot_queue_is_lost() {
    let network = Network { receive_queue: 3, ..Network::default() };
    let mut cluster = Cluster::new(Settings { nodes: 4, network, ..Settings::default() });
    cluster.start_joined();
    cluster.pause(2);
    cluster.run_for(Duration::from_secs(3));
    let before = cluster.usage(2).received;
    assert!(cluster.simulation().traffic().overflowed > 0);
    cluster.resume(2);
    assert_eq!(cluster.usage(2).received, before + 3);
}

#[test]
fn a_node_with_a_fast_clock_acts_more_often_and_hardly_hurries_the_others() {
    let mut simulation = Simulation::new(&Settings::default()).unwrap();
    for (index, clock_ppm) in [500_000, 0, -500_000].into_iter().enumerate() {
        simulation.spawn(Spawn { clock_ppm, ..Spawn::new(node_id(index)) }).unwrap();
    }
    for index in 1..3 {
        let seed = simulation.address(0).unwrap();
        simulation.command(index, Input::Join { seeds: Cow::Owned(vec![seed]) }).unwrap();
    }
    simulation.run_to(Duration::from_secs(100));
    let probes = [0, 1, 2].map(|index| simulation.node(index).unwrap().stats().probes);
    // 1.5, 1.0 and 0.5 probes a second by their own clocks; hearing of a later time adds a seventh at most.
    for (probes, own) in probes.into_iter().zip([150, 100, 50]) {
        assert!((own * 9 / 10..=own * 8 / 7 + 2).contains(&probes), "{probes} where {own} are its own");
    }
}

#[test]
fn a_restart_keeps_the_generation_or_loses_it_and_may_move() {
    let mut cluster = cluster(4, 1);
    let address = cluster.simulation().address(2);
    cluster.crash(2);
    cluster.simulation_mut().restart(2, Memory::Lost, Place::Same).unwrap();
    assert_eq!((cluster.generation(2, 2), cluster.simulation().address(2)), (Some(0), address));
    cluster.crash(2);
    cluster.simulation_mut().restart(2, Memory::Kept, Place::New).unwrap();
    assert_eq!(cluster.generation(2, 2), Some(1));
    assert_ne!(cluster.simulation().address(2), address);
    // The old address is nobody's.
    let before = cluster.simulation().traffic().nobody;
    cluster.run_for(Duration::from_secs(5));
    assert!(cluster.simulation().traffic().nobody > before);
}

#[test]
fn a_datagram_that_comes_twice_is_taken_in_twice() {
    let network = Network { duplicate: Share::ALL, ..Network::default() };
    let mut cluster = Cluster::new(Settings { nodes: 3, network, ..Settings::default() });
    cluster.start_joined();
    cluster.run_for(Duration::from_secs(5));
    let traffic = cluster.simulation().traffic();
    assert_eq!(traffic.duplicated, traffic.sent);
    assert!(traffic.delivered + 4 >= traffic.sent * 2, "{traffic:?}");
}

#[test]
fn every_datagram_sent_has_one_fate() {
    let network = Network {
        loss: Share::percent(10),
        replay: Share::percent(5),
        ..Network::losing(Share::percent(10))
    };
    let mut cluster = Cluster::new(Settings { nodes: 8, network, seed: 4, ..Settings::default() });
    cluster.start_joined();
    cluster.crash(3);
    cluster.partition(0..2, 5..8);
    cluster.run_for(Duration::from_secs(30));
    let Traffic { sent, delivered, lost, cut, nobody, duplicated, replayed, .. } =
        cluster.simulation().traffic();
    let fates = delivered + lost + cut + nobody;
    let copies = sent + duplicated + replayed;
    // What is still under way has none yet.
    assert!(fates <= copies && copies - fates < 100, "{fates} of {copies}");
    assert!([lost, cut, nobody, replayed].into_iter().all(|count| count > 0));
}

/// The swarm's proof that it is one: each kind of fault leads to what it should.
#[test]
fn the_checker_has_something_to_check() {
    let mut cluster = cluster(10, 3);
    cluster.partition(0..7, 7..10);
    cluster.run_for(Duration::from_secs(60));
    cluster.heal();
    cluster.run_for(Duration::from_secs(30));
    let counts = cluster.simulation().counts();
    let seen = [counts.joined, counts.alive, counts.suspected, counts.dead, counts.refuted, counts.isolated];
    assert!(seen.into_iter().all(|count| count > 0), "{counts:?}");
    assert_eq!(cluster.simulation().violations(), []);
}

#[test]
fn a_false_death_is_told_from_a_true_one() {
    let mut cluster = cluster(6, 1);
    cluster.crash(1);
    cluster.run_for(Duration::from_secs(20));
    assert!(cluster.everyone_holds(1, Status::Dead));
    assert_eq!(cluster.simulation().false_deads(), 0);

    // To the others a paused node is as good as dead.
    cluster.pause(2);
    cluster.run_for(Duration::from_secs(20));
    assert!(cluster.everyone_holds(2, Status::Dead));
    assert_eq!(cluster.simulation().false_deads(), 0, "a paused node is no false death");
}

#[test]
fn events_are_kept_only_if_wanted() {
    let settings = Settings { nodes: 3, keep_events: false, ..Settings::default() };
    let mut cluster = Cluster::new(settings);
    cluster.start_joined();
    assert!(cluster.log().is_empty());
    assert!(cluster.simulation().counts().joined > 0);
}

#[test]
fn time_moves_in_order_and_to_the_end() {
    let mut cluster = cluster(5, 2);
    cluster.run_for(Duration::from_secs(7));
    assert!(cluster.log().is_sorted_by_key(|logged| logged.at));
    assert!(cluster.simulation().next_at().is_none_or(|next| next >= cluster.now()));
    let joined = cluster.events(0).filter(|(_, event)| matches!(event, Event::Joined { .. })).count();
    assert_eq!(joined, 5);
}

fn ids(cluster: &Cluster, observer: usize) -> Vec<NodeId> {
    cluster.view(observer).into_iter().map(|held| held.id).collect()
}

#[test]
fn a_restarted_node_knows_the_others_as_far_as_its_rejoin_says() {
    let mut cluster = cluster(4, 1);
    cluster.run_for(Duration::from_secs(5));
    let [one, other] = [1, 2].map(|of| cluster.held(3, of).map(|held| (held.instance(), held.address())));
    cluster.crash(3);
    // A file holds the members that were live when the node was killed.
    cluster.crash(2);
    cluster.restart_alone(2);
    cluster.restart_with(3, Memory::Lost, Place::Same, Rejoin::File);
    assert_eq!(cluster.view(3).len(), 4);
    let held = [1, 2].map(|of| cluster.held(3, of).map(|held| (held.instance(), held.address())));
    assert_eq!(held, [one, other]);
    assert_eq!(ids(&cluster, 2), [node_id(2)]);

    for (node, rejoin, joins) in [
        (0, Rejoin::Running, true),
        (0, Rejoin::Alone, false),
        (0, Rejoin::OldSeeds, false),
        (1, Rejoin::OldSeeds, true),
        (1, Rejoin::File, false),
    ] {
        cluster.crash(node);
        let sent = cluster.usage(node).sent;
        cluster.restart_with(node, Memory::Lost, Place::Same, rejoin);
        assert_eq!(cluster.usage(node).sent > sent, joins, "n{node}: {rejoin:?}");
        cluster.run_for(Duration::from_secs(20));
        assert!(cluster.views_complete_and_alive(), "n{node}: {rejoin:?}");
    }
}

#[test]
fn old_seeds_are_those_of_the_first_start() {
    let mut cluster = cluster(3, 1);
    cluster.crash(2);
    cluster.restart(2, Memory::Lost);
    cluster.run_for(Duration::from_secs(5));
    // It has joined through n0 and n1 meanwhile, but n0 alone is its seed.
    cluster.crash(0);
    cluster.run_for(Duration::from_secs(1));
    cluster.crash(2);
    cluster.crash(1);
    let nobody = cluster.simulation().traffic().nobody;
    cluster.restart_with(2, Memory::Lost, Place::Same, Rejoin::OldSeeds);
    cluster.run_for(Duration::from_secs(5));
    assert_eq!(ids(&cluster, 2), [node_id(2)]);
    assert!(cluster.simulation().traffic().nobody > nobody, "it asks its seed again and again");
    cluster.restart_alone(0);
    cluster.run_for(Duration::from_secs(5));
    assert_eq!(ids(&cluster, 2), [node_id(0), node_id(2)]);
    assert!(!cluster.reunite(), "its seed leads it to the other");
}

#[test]
fn only_nodes_that_no_record_and_no_seed_leads_to_are_reunited() {
    let mut cluster = cluster(4, 1);
    cluster.crash(3);
    cluster.restart_alone(3);
    assert!(!cluster.reunite(), "the others hold its record");
    for node in 0..4 {
        cluster.crash(node);
    }
    for node in 0..4 {
        cluster.restart_alone(node);
    }
    cluster.run_for(Duration::from_secs(20));
    assert!((0..4).all(|node| cluster.view(node).len() == 1), "all are alone");
    assert!(cluster.reunite());
    assert!(!cluster.reunite(), "their seed leads them to each other");
    cluster.run_for(Duration::from_secs(20));
    assert!(cluster.views_complete_and_alive());
    assert!(!cluster.reunite());
}

#[test]
fn a_join_through_two_nodes_that_do_not_know_each_other_does_not_unite_them() {
    let mut cluster = Cluster::new(Settings { nodes: 3, seed: 1, ..Settings::default() });
    cluster.join(2, &[0, 1]);
    assert!(cluster.reunite(), "it may come to know one of them only");
    cluster.run_for(Duration::from_secs(20));
    assert!(cluster.views_complete_and_alive());
}
