//! Partitions. The smaller side freezes its view and declares no member Dead. The larger side
//! declares exactly the members of the smaller side Dead. After the partition heals, all views
//! become complete and Alive again without intervention.

use std::ops::Range;
use std::time::Duration;

use telemetry_gossip_core::{Event, Status};
use telemetry_gossip_sim::{Cluster, Settings};
use telemetry_gossip_tests::for_each_seed;

const RECOVERY: Duration = Duration::from_secs(30);

/// A partitioned cluster.
struct Split {
    cluster: Cluster,
    large: Range<usize>,
    small: Range<usize>,
    start: Duration,
}

impl Split {
    /// Starts a cluster, and then separates its last `small` nodes.
    fn new(nodes: usize, small: usize, seed: u64) -> Self {
        let settings = Settings::default().nodes(nodes).seed(seed);
        let mut cluster = Cluster::new(settings);
        cluster.start_joined();
        cluster.run_for(Duration::from_secs(5));
        let (large, small) = (0..nodes - small, nodes - small..nodes);
        let start = cluster.now();
        cluster.partition(large.clone(), small.clone());
        Self { cluster, large, small, start }
    }

    /// The events of the nodes on one side since the partition.
    fn events(&self, side: &Range<usize>) -> impl Iterator<Item = (usize, Event<u32>)> {
        let (side, start) = (side.clone(), self.start);
        let log = self.cluster.log().iter();
        log.filter(move |logged| logged.at > start && side.contains(&logged.node))
            .map(|logged| (logged.node, logged.event))
    }

    /// Whether all nodes of the larger side hold all nodes of the smaller side Dead.
    fn large_side_is_sure(&self) -> bool {
        self.small.clone().all(|lost| self.cluster.all_hold(self.large.clone(), lost, Status::Dead))
    }

    /// Asserts that both sides behaved as this file says.
    fn assert_sides_behaved(&self) {
        let index = |id: &str| id[1..].parse::<usize>().expect("ids are n0, n1, ...");
        for (node, event) in self.events(&self.small) {
            assert!(!matches!(event, Event::Dead { .. }), "n{node}, isolated, emits {event:?}");
            // Its view freezes: of the other side it reports only suspicions.
            if let Event::Alive { id, .. } | Event::Left { id, .. } = event {
                assert!(
                    self.small.contains(&index(id.as_str())),
                    "n{node}, isolated, emits {event:?}"
                );
            }
        }
        for (node, event) in self.events(&self.large) {
            if let Event::Dead { id, .. } = event {
                assert!(self.small.contains(&index(id.as_str())), "n{node} emits {event:?}");
            }
        }
        for observer in self.large.clone() {
            let alive = |&of: &usize| self.cluster.status(observer, of) == Some(Status::Alive);
            assert!(
                self.large.clone().all(|of| alive(&of)),
                "n{observer} does not hold its own side Alive"
            );
        }
        for observer in self.small.clone() {
            assert!(
                self.cluster.health(observer).isolated_since.is_some(),
                "n{observer} is not isolated"
            );
        }
    }

    fn heal_and_recover(&mut self) {
        self.cluster.heal();
        let whole = self.cluster.run_until(Cluster::views_complete_and_alive, RECOVERY);
        let took = whole.unwrap_or_else(|| {
            panic!("views are not complete and alive {RECOVERY:?} after healing")
        });
        // This is stable, and no node is isolated any more.
        self.cluster.run_for(RECOVERY - took);
        assert!(self.cluster.stays(Cluster::views_complete_and_alive, Duration::from_secs(10)));
        assert!(
            (0..self.cluster.len()).all(|node| self.cluster.health(node).isolated_since.is_none())
        );
    }
}

fn five_minutes(nodes: usize, small: usize, seed: u64) {
    let mut split = Split::new(nodes, small, seed);
    split.cluster.run_for(Duration::from_secs(300));
    assert!(
        split.large_side_is_sure(),
        "the large side has not declared the whole small side dead"
    );
    split.assert_sides_behaved();
    split.heal_and_recover();
}

#[test]
fn seven_and_three_nodes_are_partitioned_and_recover() {
    for_each_seed(200, |seed| {
        let mut split = Split::new(10, 3, seed);
        // Seven nodes probe all ten members in turn, so each lost member is probed within 2n - 1
        // probe intervals.
        let mut waited = Duration::ZERO;
        while !split.large_side_is_sure() {
            split.cluster.run_for(Duration::from_millis(100));
            waited += Duration::from_millis(100);
            assert!(
                waited < Duration::from_secs(30),
                "the large side does not declare the small side dead"
            );
        }
        split.cluster.publish(0, "load", b"news");
        split.cluster.publish(9, "load", b"late");
        split.cluster.run_for(Duration::from_secs(10));
        assert_eq!(split.cluster.value(9, 0, "load"), None, "telemetry crossed the partition");
        split.assert_sides_behaved();

        split.heal_and_recover();
        // Each side has received the telemetry that the other published meanwhile.
        assert!(
            (0..10).all(|node| split.cluster.value(node, 0, "load") == Some(b"news".as_slice()))
        );
        assert!(
            (0..10).all(|node| split.cluster.value(node, 9, "load") == Some(b"late".as_slice()))
        );
    });
}

#[test]
fn seven_and_three_nodes_are_partitioned_for_five_minutes() {
    for_each_seed(200, |seed| five_minutes(10, 3, seed));
}

#[test]
fn two_hundred_twenty_and_thirty_nodes_are_partitioned_for_five_minutes() {
    for_each_seed(2, |seed| five_minutes(250, 30, seed));
}

#[test]
#[ignore = "takes minutes: 30 seeds of a large cluster"]
fn two_hundred_twenty_and_thirty_nodes_are_partitioned_for_five_minutes_in_many_seeds() {
    for_each_seed(30, |seed| five_minutes(250, 30, seed));
}

/// In an even split, both sides keep working, and each declares exactly the other side Dead.
#[test]
fn both_sides_of_an_even_split_keep_working_and_recover() {
    for_each_seed(200, |seed| {
        let mut split = Split::new(10, 5, seed);
        split.cluster.run_for(Duration::from_secs(60));
        assert!(split.large_side_is_sure());
        let small_side_is_sure = split
            .large
            .clone()
            .all(|lost| split.cluster.all_hold(split.small.clone(), lost, Status::Dead));
        assert!(small_side_is_sure);
        split.heal_and_recover();
    });
}

#[test]
fn an_isolated_single_node_declares_no_member_dead() {
    for_each_seed(200, |seed| {
        let mut split = Split::new(5, 1, seed);
        split.cluster.run_for(Duration::from_secs(120));
        assert!(split.large_side_is_sure());
        split.assert_sides_behaved();
        split.heal_and_recover();
    });
}
