//! Hosts with several addresses, and addresses that do not work: the settings of a real fleet.
//!
//! An answer counts by the number that it repeats, so a host may send from any address. A member
//! whose stated address stops working hears all others and is reached by none: it is declared Dead
//! once, and says so itself.

use std::time::Duration;

use telemetry_gossip_core::{Event, NodeId, Status};
use telemetry_gossip_sim::{Checking, Cluster, Quantiles, Settings, node_id};
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
