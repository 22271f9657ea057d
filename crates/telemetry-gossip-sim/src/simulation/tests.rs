//! Tests of the simulator itself: processes, clocks, queues and addresses.

use std::borrow::Cow;
use std::time::Duration;

use telemetry_gossip_core::{Config, ConfigError, Event, Input, Status};

use super::*;
use crate::cluster::{Cluster, node_id};
use crate::liar::{LieKind, Plan};
use crate::process::{Memory, Place, Rejoin, Spawn};

fn cluster(nodes: usize, seed: u64) -> Cluster {
    let mut cluster = Cluster::new(Settings::default().nodes(nodes).seed(seed));
    cluster.start_joined();
    cluster
}

#[test]
fn equal_seeds_give_equal_traces_and_different_seeds_different_ones() {
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
    let config = Config::default().mtu(1);
    let refused = Simulation::new(&Settings::default().config(config));
    assert!(matches!(refused, Err(ConfigError::Range { field: "mtu", .. })));
}

#[test]
fn a_crashed_node_neither_sends_nor_receives() {
    let mut cluster = cluster(4, 1);
    cluster.crash(2);
    let before = cluster.usage(2);
    cluster.run_for(Duration::from_secs(20));
    assert_eq!(cluster.usage(2), before);
    assert_eq!(cluster.simulation().condition(2), Some(Condition::Down));
    assert!(cluster.simulation().traffic().no_listener > 0, "no node contacted it");
    assert!(cluster.simulation_mut().command(2, Input::Leave).is_err());
}

#[test]
fn datagrams_wait_for_a_paused_node_until_it_is_resumed() {
    let mut cluster = cluster(4, 1);
    cluster.pause(2);
    let before = cluster.usage(2);
    cluster.run_for(Duration::from_secs(2));
    assert_eq!(cluster.usage(2), before);
    cluster.resume(2);
    assert!(cluster.usage(2).received > before.received, "no datagram waited");
}

#[test]
fn datagrams_beyond_the_queue_of_a_paused_node_are_lost() {
    let network = Network::default().receive_queue(3);
    let mut cluster = Cluster::new(Settings::default().nodes(4).network(network));
    cluster.start_joined();
    cluster.pause(2);
    cluster.run_for(Duration::from_secs(3));
    let before = cluster.usage(2).received;
    assert!(cluster.simulation().traffic().overflowed > 0);
    cluster.resume(2);
    assert_eq!(cluster.usage(2).received, before + 3);
}

#[test]
fn a_fast_clock_makes_its_node_probe_more_often_and_hardly_affects_others() {
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
    // By their own clocks the nodes send 1.5, 1.0 and 0.5 probes per second. Learning of later
    // rounds from others adds at most a seventh.
    for (probes, own) in probes.into_iter().zip([150, 100, 50]) {
        assert!(
            (own * 9 / 10..=own * 8 / 7 + 2).contains(&probes),
            "{probes} probes instead of {own}"
        );
    }
}

#[test]
fn a_restarted_node_keeps_or_loses_its_generation_and_may_move() {
    let mut cluster = cluster(4, 1);
    let address = cluster.simulation().address(2);
    cluster.crash(2);
    cluster.simulation_mut().restart(2, Memory::Lost, Place::Same).unwrap();
    assert_eq!((cluster.generation(2, 2), cluster.simulation().address(2)), (Some(0), address));
    cluster.crash(2);
    cluster.simulation_mut().restart(2, Memory::Kept, Place::New).unwrap();
    assert_eq!(cluster.generation(2, 2), Some(1));
    assert_ne!(cluster.simulation().address(2), address);
    // The old address has no process.
    let before = cluster.simulation().traffic().no_listener;
    cluster.run_for(Duration::from_secs(5));
    assert!(cluster.simulation().traffic().no_listener > before);
}

#[test]
fn a_duplicated_datagram_is_received_twice() {
    let network = Network::default().duplicate(Share::ALL);
    let mut cluster = Cluster::new(Settings::default().nodes(3).network(network));
    cluster.start_joined();
    cluster.run_for(Duration::from_secs(5));
    let traffic = cluster.simulation().traffic();
    assert_eq!(traffic.duplicated, traffic.sent);
    assert!(traffic.delivered + 4 >= traffic.sent * 2, "{traffic:?}");
}

#[test]
fn every_datagram_sent_has_one_fate() {
    let network =
        Network::losing(Share::percent(10)).loss(Share::percent(10)).replay(Share::percent(5));
    let mut cluster = Cluster::new(Settings::default().nodes(8).network(network).seed(4));
    cluster.start_joined();
    cluster.crash(3);
    cluster.partition(0..2, 5..8);
    cluster.run_for(Duration::from_secs(30));
    let Traffic { sent, delivered, lost, cut, no_listener, duplicated, replayed, .. } =
        cluster.simulation().traffic();
    let fates = delivered + lost + cut + no_listener;
    let copies = sent + duplicated + replayed;
    // Datagrams in flight have no fate yet.
    assert!(fates <= copies && copies - fates < 100, "{fates} of {copies}");
    assert!([lost, cut, no_listener, replayed].into_iter().all(|count| count > 0));
}

#[test]
fn a_partition_leads_to_all_kinds_of_membership_events() {
    let mut cluster = cluster(10, 3);
    cluster.partition(0..7, 7..10);
    cluster.run_for(Duration::from_secs(60));
    cluster.heal();
    cluster.run_for(Duration::from_secs(30));
    let counts = cluster.simulation().counts();
    let seen = [
        counts.joined,
        counts.alive,
        counts.suspected,
        counts.dead,
        counts.refuted,
        counts.isolated,
    ];
    assert!(seen.into_iter().all(|count| count > 0), "{counts:?}");
    assert_eq!(cluster.simulation().violations(), []);
}

#[test]
fn declaring_a_crashed_or_paused_node_dead_is_not_false() {
    let mut cluster = cluster(6, 1);
    cluster.crash(1);
    cluster.run_for(Duration::from_secs(20));
    assert!(cluster.everyone_holds(1, Status::Dead));
    assert_eq!(cluster.simulation().false_deads(), 0);

    // Other nodes cannot tell a paused node from a dead one.
    cluster.pause(2);
    cluster.run_for(Duration::from_secs(20));
    assert!(cluster.everyone_holds(2, Status::Dead));
    assert_eq!(cluster.simulation().false_deads(), 0, "a paused node counts as dead");
}

#[test]
fn events_are_kept_only_if_configured() {
    let settings = Settings::default().nodes(3).keep_events(false);
    let mut cluster = Cluster::new(settings);
    cluster.start_joined();
    assert!(cluster.log().is_empty());
    assert!(cluster.simulation().counts().joined > 0);
}

#[test]
fn events_are_logged_in_the_order_of_time() {
    let mut cluster = cluster(5, 2);
    cluster.run_for(Duration::from_secs(7));
    assert!(cluster.log().is_sorted_by_key(|logged| logged.at));
    assert!(cluster.simulation().next_at().is_none_or(|next| next >= cluster.now()));
    let joined =
        cluster.events(0).filter(|(_, event)| matches!(event, Event::Joined { .. })).count();
    assert_eq!(joined, 5);
}

fn ids(cluster: &Cluster, observer: usize) -> Vec<NodeId> {
    cluster.view(observer).into_iter().map(|held| held.id).collect()
}

#[test]
fn a_restarted_node_knows_the_others_as_far_as_its_rejoin_says() {
    let mut cluster = cluster(4, 1);
    cluster.run_for(Duration::from_secs(5));
    let [one, other] =
        [1, 2].map(|of| cluster.held(3, of).map(|held| (held.instance(), held.address())));
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
    // It joined through n0 and n1 at its restart, but its first start had only the seed n0.
    cluster.crash(0);
    cluster.run_for(Duration::from_secs(1));
    cluster.crash(2);
    cluster.crash(1);
    let unheard = cluster.simulation().traffic().no_listener;
    cluster.restart_with(2, Memory::Lost, Place::Same, Rejoin::OldSeeds);
    cluster.run_for(Duration::from_secs(5));
    assert_eq!(ids(&cluster, 2), [node_id(2)]);
    assert!(
        cluster.simulation().traffic().no_listener > unheard,
        "it contacts its seed repeatedly"
    );
    cluster.restart_alone(0);
    cluster.run_for(Duration::from_secs(5));
    assert_eq!(ids(&cluster, 2), [node_id(0), node_id(2)]);
    assert!(!cluster.reunite(), "its seed leads it to the other node");
}

#[test]
fn only_nodes_that_cannot_find_each_other_are_reunited() {
    let mut cluster = cluster(4, 1);
    cluster.crash(3);
    cluster.restart_alone(3);
    assert!(!cluster.reunite(), "the others hold a record of it");
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
fn a_record_of_a_member_that_has_not_answered_leads_nobody_to_it() {
    let mut cluster = Cluster::new(Settings::default().nodes(3).seed(1));
    let every = Duration::from_secs(3_600);
    let plan = Plan { kind: LieKind::Crowd, every, count: 1, member: false, key: false };
    cluster.simulation_mut().begin_lie(plan, vec![0], vec![0]);
    cluster.join(1, &[0]);
    cluster.run_for(Duration::from_secs(10));
    cluster.partition([1], [2]);
    cluster.join(2, &[0]);
    cluster.run_for(Duration::from_secs(2));
    assert!(cluster.held(2, 1).is_some(), "node 2 knows node 1 from a page of its join");
    cluster.crash(0);
    cluster.heal();
    assert!(cluster.reunite(), "node 1 may be removed before it is asked again");
    assert!(!cluster.reunite(), "the new seed leads node 2 to node 1");
    cluster.run_for(Duration::from_secs(20));
    assert!(cluster.views_complete_and_alive());
}

#[test]
fn a_join_through_two_nodes_that_do_not_know_each_other_does_not_unite_them() {
    let mut cluster = Cluster::new(Settings::default().nodes(3).seed(1));
    cluster.join(2, &[0, 1]);
    assert!(cluster.reunite(), "the join may reach only one of them");
    cluster.run_for(Duration::from_secs(20));
    assert!(cluster.views_complete_and_alive());
}
