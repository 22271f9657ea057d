//! Recordings: an outsider who has all traffic of a sealed cluster, and repeats it at any time and
//! to any node, changes nothing but counters.

use std::time::Duration;

use telemetry_gossip_core::{Config, Event, Label, Status};
use telemetry_gossip_seal::{Key, Keyring};
use telemetry_gossip_sim::{Cluster, MemberState, Memory, Settings, Tapped};
use telemetry_gossip_tests::for_each_seed;

const NODES: usize = 12;

/// The nodes that leave. The others are fewer.
const LEAVING: std::ops::Range<usize> = 5..NODES;

const MEMORY_OF_THE_DEAD: Duration = Duration::from_secs(600);

fn cluster(seed: u64) -> Cluster {
    let config = Config::default().tombstone_ttl(MEMORY_OF_THE_DEAD);
    let ring = Keyring::new(Label::of("production"), Key::new([1; 32]));
    let settings = Settings::default().nodes(NODES).sealing(Some(ring)).config(config).seed(seed);
    let mut cluster = Cluster::new(settings.keep_events(true));
    cluster.simulation_mut().record_traffic();
    cluster.start_joined();
    cluster
}

/// What all running nodes hold of all members.
fn views(cluster: &Cluster) -> Vec<Vec<MemberState>> {
    cluster.taking_part().map(|node| cluster.view(node)).collect()
}

/// Repeats a recording at some nodes, as fast as the wire carries it, and lets time pass. Nothing
/// may change, and no event may tell of a change.
fn replay(cluster: &mut Cluster, recording: &[Tapped], at: &[usize]) {
    let (before, events) = (views(cluster), cluster.log().len());
    let running: Vec<usize> = cluster.taking_part().collect();
    for portion in recording.chunks(200) {
        for (place, datagram) in portion.iter().enumerate() {
            // At each node, or in turn at one of them, wherever the datagram was sent to.
            let node = at[place % at.len()];
            cluster.simulation_mut().inject(node, datagram.from, &datagram.bytes);
        }
        cluster.run_for(Duration::from_millis(50));
    }
    cluster.run_for(Duration::from_secs(60));
    assert_eq!(views(cluster), before);
    assert!(cluster.taking_part().eq(running), "a process has ended");
    let news: Vec<_> = cluster.log()[events..]
        .iter()
        .filter(|logged| !matches!(logged.event, Event::Evidence { .. } | Event::Telemetry { .. }))
        .collect();
    assert!(news.is_empty(), "{news:?}");
}

/// Lets the last nodes leave, and their names be forgotten.
fn leave_and_forget(cluster: &mut Cluster) {
    for node in LEAVING {
        cluster.leave(node);
        cluster.run_for(Duration::from_secs(2));
        cluster.crash(node);
    }
    let forgotten = |cluster: &Cluster| {
        cluster.taking_part().all(|node| cluster.view(node).len() == LEAVING.start)
    };
    let span = MEMORY_OF_THE_DEAD * 2;
    assert!(cluster.run_until(forgotten, span).is_some(), "the names are not forgotten");
}

/// Restarts each node whose bit is set in `subset`, without a memory.
fn restart_subset(cluster: &mut Cluster, subset: u64) {
    for node in (0..LEAVING.start).filter(|&node| (subset >> node) & 1 == 1) {
        cluster.crash(node);
        cluster.restart(node, Memory::Lost);
        cluster.run_for(Duration::from_secs(5));
    }
    let settled = |cluster: &Cluster| {
        cluster.taking_part().all(|node| {
            let view = cluster.view(node);
            view.len() == LEAVING.start && view.iter().all(|it| it.status == Status::Alive)
        })
    };
    assert!(cluster.run_until(settled, Duration::from_secs(60)).is_some());
}

/// Each of the 32 subsets of the nodes that stay is restarted once, before all traffic of more than
/// ten minutes is repeated.
#[test]
fn a_recording_revives_no_member_that_left_at_whichever_nodes_restarted() {
    for_each_seed(32, |seed| {
        let mut cluster = cluster(seed);
        cluster.publish(7, "load", b"0.7");
        cluster.run_for(Duration::from_secs(600));
        leave_and_forget(&mut cluster);
        let recording = cluster.simulation_mut().take_traffic();
        assert!(recording.len() > 10_000, "{} datagrams", recording.len());
        restart_subset(&mut cluster, seed);
        let at = usize::try_from(seed).map_or(0, |seed| seed % LEAVING.start);
        replay(&mut cluster, &recording, &[at]);
        replay(&mut cluster, &recording, &[0, 1, 2, 3, 4]);
    });
}

/// The whole cluster was stopped, and begins anew with fewer nodes. Before, it has run for ten
/// minutes, in which each node was restarted once. Afterwards some of the present nodes are.
#[test]
fn a_recording_of_earlier_lives_changes_nothing_in_the_present_one() {
    for_each_seed(8, |seed| {
        let mut cluster = cluster(seed);
        for node in 0..NODES {
            cluster.run_for(Duration::from_secs(50));
            cluster.crash(node);
            cluster.restart(node, Memory::Lost);
        }
        let recording = cluster.simulation_mut().take_traffic();
        (0..NODES).for_each(|node| cluster.crash(node));
        cluster.run_for(Duration::from_secs(1));
        cluster.restart_alone(0);
        for node in 1..LEAVING.start {
            cluster.restart_alone(node);
            cluster.join(node, &[0]);
        }
        let complete = |cluster: &Cluster| {
            cluster.taking_part().all(|node| cluster.view(node).len() == LEAVING.start)
        };
        assert!(cluster.run_until(complete, Duration::from_secs(30)).is_some());
        cluster.run_for(Duration::from_secs(30));
        replay(&mut cluster, &recording, &[0]);
        restart_subset(&mut cluster, seed * 4 + 3);
        replay(&mut cluster, &recording, &[0, 1, 2, 3, 4]);
    });
}

/// It knows no member yet, so nothing that it holds could beat what the recording says, also about
/// the process itself.
#[test]
fn a_process_that_has_just_started_learns_nothing_from_a_recording() {
    for_each_seed(5, |seed| {
        let mut cluster = cluster(seed);
        cluster.run_for(Duration::from_secs(60));
        let recording = cluster.simulation_mut().take_traffic();
        (0..NODES).for_each(|node| cluster.crash(node));
        cluster.restart_alone(3);
        replay(&mut cluster, &recording, &[3]);
        assert_eq!(cluster.view(3).len(), 1);
    });
}
