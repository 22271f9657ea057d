//! Identity: rejoining with a lost generation, changing the address, two processes with one id.

use std::time::Duration;

use telemetry_gossip_core::{Event, Status};
use telemetry_gossip_sim::{Cluster, Memory, Place, Settings, Spawn, node_id};
use telemetry_gossip_tests::for_each_seed;

const NODES: usize = 8;
const NODE: usize = 5;

fn cluster(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(Settings::default().nodes(NODES).seed(seed));
    cluster.start_joined();
    cluster.run_for(Duration::from_secs(3));
    cluster
}

fn until_dead(cluster: &mut Cluster) {
    let dead = cluster
        .run_until(|cluster| cluster.everyone_holds(NODE, Status::Dead), Duration::from_secs(30));
    assert!(dead.is_some(), "not all nodes know of the crash");
}

fn until_whole(cluster: &mut Cluster) {
    let whole = cluster.run_until(Cluster::views_complete_and_alive, Duration::from_secs(10));
    assert!(whole.is_some(), "not all nodes are held alive");
}

#[test]
fn a_node_rejoins_with_its_old_id_and_a_lost_generation() {
    for_each_seed(200, |seed| {
        let mut cluster = cluster(seed);
        cluster.crash(NODE);
        until_dead(&mut cluster);
        let died_at = cluster.generation(0, NODE);
        cluster.restart(NODE, Memory::Lost);
        until_whole(&mut cluster);
        assert!(cluster.generation(0, NODE) > died_at, "its generation is not above the old one");
    });
}

#[test]
fn a_node_restarted_before_others_notice_is_never_held_dead() {
    for_each_seed(200, |seed| {
        let mut cluster = cluster(seed);
        let instance = |cluster: &Cluster| cluster.held(0, NODE).map(|held| held.instance());
        let before = instance(&cluster);
        cluster.crash(NODE);
        cluster.run_for(Duration::from_millis(200));
        cluster.restart(NODE, if seed % 2 == 0 { Memory::Lost } else { Memory::Kept });
        cluster.run_for(Duration::from_secs(20));
        assert!(cluster.views_complete_and_alive());
        assert_ne!(instance(&cluster), before, "the new instance is not known");
        assert_eq!(cluster.simulation().counts().dead, 0);
    });
}

#[test]
fn telemetry_of_an_earlier_instance_is_dropped() {
    for_each_seed(200, |seed| {
        let mut cluster = cluster(seed);
        cluster.publish(NODE, "load", b"old");
        cluster.run_for(Duration::from_secs(3));
        assert_eq!(cluster.value(0, NODE, "load"), Some(b"old".as_slice()));
        cluster.crash(NODE);
        cluster.run_for(Duration::from_secs(1));
        cluster.restart(NODE, Memory::Lost);
        cluster.publish(NODE, "uptime", b"0");
        cluster.run_for(Duration::from_secs(20));
        for observer in 0..NODES {
            assert_eq!(cluster.value(observer, NODE, "load"), None, "at n{observer}");
            assert_eq!(
                cluster.value(observer, NODE, "uptime"),
                Some(b"0".as_slice()),
                "at n{observer}"
            );
        }
    });
}

#[test]
fn a_node_at_a_new_address_moves_everywhere() {
    for_each_seed(200, |seed| {
        let mut cluster = cluster(seed);
        cluster.crash(NODE);
        if seed % 2 == 0 {
            until_dead(&mut cluster);
        }
        cluster.restart_at(
            NODE,
            if seed % 3 == 0 { Memory::Kept } else { Memory::Lost },
            Place::New,
        );
        let address = cluster.simulation().address(NODE);
        let limit = Duration::from_secs(10);
        let moved = cluster.run_until(
            |cluster| {
                (0..NODES)
                    .all(|node| cluster.held(node, NODE).and_then(|held| held.address()) == address)
            },
            limit,
        );
        assert!(moved.is_some(), "not all nodes know the new address");
        cluster.run_for(limit);
        assert!(cluster.views_complete_and_alive());
    });
}

fn yielded(cluster: &Cluster, process: usize) -> bool {
    cluster
        .events(process)
        .any(|(_, event)| matches!(event, Event::IdentityConflict { lost: true, .. }))
}

/// That all others hold the id of `NODE` alive, as this process.
fn assert_held(cluster: &Cluster, process: usize) {
    let instance = cluster.node(process).me().instance();
    for observer in (0..NODES).filter(|&observer| observer != NODE) {
        let held = cluster.held(observer, NODE).expect("the id is known");
        assert_eq!(held.status(), Status::Alive, "at n{observer}");
        assert_eq!(held.instance(), instance, "at n{observer}");
    }
}

#[test]
fn of_two_processes_with_one_id_the_one_that_was_known_first_stays() {
    for_each_seed(200, |seed| {
        let mut cluster = cluster(seed);
        let rival = cluster.spawn(Spawn::new(node_id(NODE)));
        cluster.join(rival, &[0]);
        let settled = cluster.run_until(|cluster| yielded(cluster, rival), Duration::from_secs(30));
        assert!(settled.is_some(), "the newcomer does not yield");
        cluster.run_for(Duration::from_secs(40));
        assert!(!yielded(&cluster, NODE), "both yielded");
        assert!(!cluster.health(rival).active && cluster.health(NODE).active);
        assert_held(&cluster, NODE);
    });
}

#[test]
fn a_process_that_has_yielded_takes_its_id_once_the_other_has_crashed() {
    for_each_seed(50, |seed| {
        let mut cluster = cluster(seed);
        let rival = cluster.spawn(Spawn::new(node_id(NODE)));
        cluster.join(rival, &[0]);
        cluster.run_for(Duration::from_secs(10));
        assert!(yielded(&cluster, rival));
        cluster.crash(NODE);
        cluster.run_for(Duration::from_secs(70));
        assert!(cluster.health(rival).active);
        assert_held(&cluster, rival);
    });
}

/// A host is paused, and its replacement is started elsewhere.
#[test]
fn a_process_that_was_paused_yields_to_its_replacement() {
    for_each_seed(100, |seed| {
        let mut cluster = cluster(seed);
        cluster.pause(NODE);
        cluster.run_for(Duration::from_secs(20));
        let replacement = cluster.spawn(Spawn::new(node_id(NODE)));
        cluster.join(replacement, &[0]);
        cluster.run_for(Duration::from_secs(20));
        assert_held(&cluster, replacement);
        cluster.resume(NODE);
        cluster.run_for(Duration::from_secs(40));
        assert!(yielded(&cluster, NODE) && !yielded(&cluster, replacement));
        assert_held(&cluster, replacement);
    });
}

/// A supervisor starts again whoever ends, half a second later. The one that was known first never
/// ends, however often the other is started.
#[test]
fn two_supervised_processes_do_not_swap_their_id() {
    for_each_seed(10, |seed| {
        let mut cluster = cluster(seed);
        let mut second = cluster.spawn(Spawn::new(node_id(NODE)));
        cluster.join(second, &[0]);
        for _ in 0..300 {
            cluster.run_for(Duration::from_secs(1));
            assert!(!yielded(&cluster, NODE), "the first ends");
            if yielded(&cluster, second) {
                cluster.crash(second);
                second = cluster.spawn(Spawn::new(node_id(NODE)));
                cluster.join(second, &[0]);
            }
        }
        assert_held(&cluster, NODE);
        let moved = cluster.events(2).filter(|(_, event)| matches!(event, Event::Moved { .. }));
        assert_eq!(moved.count(), 0, "no other node sees it move");
    });
}
