//! Leaving: all nodes learn of it, none mistakes it for a death, and the leaving node does not
//! refute it.

use std::time::Duration;

use telemetry_gossip_core::{Event, Status};
use telemetry_gossip_sim::{Cluster, Memory, Network, Settings, Share};
use telemetry_gossip_tests::for_each_seed;

const NODES: usize = 12;

fn cluster(loss: Share, seed: u64) -> Cluster {
    let network = Network::losing(loss);
    let mut cluster = Cluster::new(Settings::default().nodes(NODES).network(network).seed(seed));
    cluster.start_joined();
    cluster.run_for(Duration::from_secs(3));
    cluster
}

#[test]
fn all_nodes_learn_of_a_leave_and_none_takes_it_for_a_death() {
    for_each_seed(200, |seed| {
        let mut cluster = cluster(Share::NONE, seed);
        cluster.leave(4);
        // Rumors are sent every 200 ms. A node that they miss learns of the leave by anti-entropy,
        // a few probe intervals later.
        let known = cluster
            .run_until(|cluster| cluster.everyone_holds(4, Status::Left), Duration::from_secs(5));
        assert!(known.is_some(), "not all nodes know");
        cluster.run_for(Duration::from_secs(20));
        assert!(cluster.everyone_holds(4, Status::Left), "a node no longer holds it Left");
        assert!(cluster.views_complete_and_alive());
        let counts = cluster.simulation().counts();
        assert_eq!((counts.suspected, counts.dead, counts.refuted), (0, 0, 0));
    });
}

#[test]
fn a_leaving_node_reports_completion_and_then_sends_nothing() {
    for_each_seed(200, |seed| {
        let mut cluster = cluster(Share::percent(5), seed);
        cluster.leave(4);
        let done = |cluster: &Cluster| {
            cluster.events(4).any(|(_, event)| matches!(event, Event::LeaveCompleted { .. }))
        };
        assert!(cluster.run_until(done, Duration::from_secs(5)).is_some(), "the leave never ends");
        let sent = cluster.usage(4).sent;
        cluster.run_for(Duration::from_secs(20));
        assert_eq!(cluster.usage(4).sent, sent, "it still sends");
        assert!(!cluster.health(4).active);
        assert!(cluster.everyone_holds(4, Status::Left));
    });
}

#[test]
fn several_nodes_can_leave_at_once() {
    for_each_seed(200, |seed| {
        let mut cluster = cluster(Share::NONE, seed);
        (8..NODES).for_each(|node| cluster.leave(node));
        // The nodes that hear of a leave may be leaving themselves and not pass it on. The others
        // then find out by probing.
        let gone = |cluster: &Cluster, observer, of| {
            matches!(cluster.status(observer, of), Some(Status::Left | Status::Dead))
        };
        let all_gone = |cluster: &Cluster| {
            (0..8).all(|observer| (8..NODES).all(|of| gone(cluster, observer, of)))
        };
        assert!(
            cluster.run_until(all_gone, Duration::from_secs(30)).is_some(),
            "{:?}",
            cluster.view(0)
        );
        assert!(cluster.views_complete_and_alive());
    });
}

#[test]
fn a_node_that_left_can_return() {
    for_each_seed(200, |seed| {
        let mut cluster = cluster(Share::NONE, seed);
        cluster.leave(4);
        cluster.run_for(Duration::from_secs(5));
        cluster.crash(4);
        cluster.restart(4, if seed % 2 == 0 { Memory::Lost } else { Memory::Kept });
        let back = cluster.run_until(Cluster::views_complete_and_alive, Duration::from_secs(10));
        assert!(back.is_some(), "it is not held alive again");
    });
}
