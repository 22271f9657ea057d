//! Hosts with several addresses, and addresses that do not work: the settings of a real fleet.
//!
//! An answer counts by the number that it repeats, so a host may send from any address. A member
//! whose stated address stops working hears all others and is reached by none: it is declared Dead
//! once, and says so itself.

use std::time::Duration;

use telemetry_gossip_core::{Event, Generation, NodeId, Status};
use telemetry_gossip_sim::{Checking, Cluster, Quantiles, Settings, Spawn, node_id};
use telemetry_gossip_tests::for_each_seed;

/// A fleet of which every fifth node sends from elsewhere, and every twentieth loses its address.
struct Fleet {
    cluster: Cluster,
    nodes: usize,
}

fn is_lost(node: usize) -> bool {
    node % 20 == 7
}

impl Fleet {
    fn joined(nodes: usize, seed: u64) -> Self {
        let settings = Settings::default().nodes(nodes).seed(seed).checking(Checking::Sampled);
        let mut cluster = Cluster::new(settings);
        (0..nodes).filter(|node| node % 5 == 1).for_each(|node| cluster.send_elsewhere(node));
        cluster.start_joined();
        cluster.run_for(Duration::from_secs(30));
        Self { cluster, nodes }
    }

    /// The most changes of status of one member in any view since `since`.
    fn changes(&self, since: Duration, of: impl Fn(usize) -> bool) -> usize {
        let members: Vec<NodeId> = (0..self.nodes).filter(|&it| of(it)).map(node_id).collect();
        let mut most = 0;
        for observer in (0..self.nodes).filter(|&node| !is_lost(node)) {
            let mut changes = vec![0; members.len()];
            for (at, event) in self.cluster.events(observer) {
                let (Event::Suspected { id, .. }
                | Event::Dead { id, .. }
                | Event::Alive { id, .. }) = event
                else {
                    continue;
                };
                if at > since
                    && let Some(place) = members.iter().position(|it| *it == id)
                {
                    changes[place] += 1;
                }
            }
            most = most.max(changes.into_iter().max().unwrap_or(0));
        }
        most
    }

    /// A node crashes: how long it takes until it is Dead at all whose address works.
    fn crash(&mut self, node: usize) -> Duration {
        self.cluster.crash(node);
        let known = |cluster: &Cluster| {
            let observers = cluster.taking_part().filter(|&observer| !is_lost(observer));
            cluster.all_hold(observers, node, Status::Dead)
        };
        self.cluster.run_until(known, Duration::from_secs(30)).expect("the crash is known")
    }
}

fn check(nodes: usize, seeds: u64) {
    let mut times = Vec::new();
    for_each_seed(seeds, |seed| {
        let mut fleet = Fleet::joined(nodes, seed);
        let calm = fleet.cluster.now();
        (0..nodes).filter(|&node| is_lost(node)).for_each(|it| fleet.cluster.lose_address(it));
        fleet.cluster.run_for(Duration::from_secs(600));
        assert_eq!(fleet.changes(calm, is_lost), 2, "Suspected, and Dead");
        assert_eq!(fleet.changes(calm, |node| !is_lost(node)), 0);
        let told = |event: &Event<u32>| matches!(event, Event::Unreached { seen_at: Some(_), .. });
        for node in (0..nodes).filter(|&node| is_lost(node)) {
            let told = fleet.cluster.events(node).filter(|(_, event)| told(event)).count();
            assert_eq!(told, 1, "n{node} is told that nothing reaches it");
        }
        times.push(fleet.crash(1));
        times.push(fleet.crash(2));
        let back = (0..nodes).filter(|&node| is_lost(node));
        back.clone().for_each(|node| fleet.cluster.regain_address(node));
        fleet.cluster.run_for(Duration::from_secs(60));
        for node in back {
            assert!(fleet.cluster.everyone_holds(node, Status::Alive), "n{node} is back");
        }
    });
    let times = Quantiles::of(times).expect("there were seeds");
    println!("{nodes} nodes, a crash is Dead at all whose address works after {times}");
    assert!(times.max <= Duration::from_secs(6), "{times}");
}

#[test]
fn forty_nodes_of_which_some_send_from_elsewhere_and_some_lose_their_address() {
    check(40, 10);
}

/// `cargo test --release -p telemetry-gossip-tests --test protocol addresses -- --ignored`
#[test]
#[ignore = "takes minutes"]
fn two_hundred_fifty_nodes_of_which_some_send_from_elsewhere_and_some_lose_their_address() {
    check(250, 20);
}

/// What an unverified address gets is short: few claims with the longest ids fit into it.
#[test]
fn a_node_that_sends_from_elsewhere_joins_a_cluster_with_the_longest_ids() {
    for_each_seed(10, |seed| {
        let mut cluster = Cluster::new(Settings::default().nodes(6).seed(seed));
        cluster.start_joined();
        for number in 1..=3 {
            let id = NodeId::new(&format!("{number}-{}", "x".repeat(125))).expect("127 bytes");
            // As large as a claim may be: its generation takes eight bytes.
            cluster.add_as(Spawn::new(id).generation(Generation(1 << 50)));
        }
        cluster.run_for(Duration::from_secs(10));
        let newcomer = cluster.spawn(Spawn::new(node_id(cluster.len())));
        cluster.send_elsewhere(newcomer);
        cluster.join(newcomer, &[0, 1, 2]);
        let whole = cluster.run_until(Cluster::views_complete_and_alive, Duration::from_secs(10));
        assert!(whole.is_some(), "the views are not complete after ten seconds");
        cluster.run_for(Duration::from_secs(20));
        let before = cluster.usage(newcomer).sent_bytes;
        cluster.run_for(Duration::from_secs(60));
        let per_second = (cluster.usage(newcomer).sent_bytes - before) / 60;
        assert!(per_second < 250, "the newcomer sends {per_second} B/s");
    });
}
