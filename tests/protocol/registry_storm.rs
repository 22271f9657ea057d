//! Random fleets under a registry that is a source of faults: operators edit while it is down, lags
//! at some hosts, is restored from a backup and written on, and nodes crash, restart and are cut
//! off. Whatever happens, no rule of the protocol breaks; and once all is well, every node that
//! belongs holds exactly the others that do.

use std::time::Duration;

use telemetry_gossip_core::Status;
use telemetry_gossip_registry::follow::State;
use telemetry_gossip_registry::{ClusterId, Edition, Member, Stamp};
use telemetry_gossip_sim::{Cluster, Network, Registry, Settings, Share, node_id};
use telemetry_gossip_tests::for_each_seed;

/// A generator of small numbers that is easy to repeat (Marsaglia's xorshift64).
struct Lot(u64);

impl Lot {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most as u64).unwrap()
    }

    fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }
}

struct Storm {
    seed: u64,
    lot: Lot,
    nodes: usize,
    cluster: Cluster,
    registry: Registry,
    /// The highest version that was ever written.
    highest: u64,
    /// Whether the history was broken, so that an operator has to end it.
    broken: bool,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut lot = Lot(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let nodes = 4 + lot.below(9);
        let loss = Share::percent(u32::try_from(lot.below(8)).unwrap());
        let settings = Settings::default().nodes(nodes).network(Network::losing(loss)).seed(seed);
        let mut cluster = Cluster::new(settings);
        let members = (0..nodes).map(|index| (node_id(index), Member::default()));
        let first = Edition::first(ClusterId::from_random([1; 16]), "", members).unwrap();
        let mut registry = Registry::new(first);
        (0..nodes).for_each(|index| registry.follow(&cluster, index));
        cluster.start_joined();
        Self { seed, lot, nodes, cluster, registry, highest: 1, broken: false }
    }

    fn pass(&mut self, seconds: u64) {
        self.registry.run_for(&mut self.cluster, Duration::from_secs(seconds));
    }

    fn write(&mut self, edition: Edition) {
        self.highest = self.highest.max(edition.version());
        self.registry.write(edition);
        let told = self.lot.below(self.nodes);
        self.registry.ask(&self.cluster, told);
    }

    fn edit(&mut self) {
        let newest = self.registry.newest().clone();
        let id = node_id(self.lot.below(self.nodes));
        let edited = match self.lot.below(5) {
            0 => newest.remove(&[id], None, &Stamp::new("ana", "storm")),
            1 => newest.replace(id, Vec::new()),
            _ => newest.readmit(id),
        };
        if let Ok(edited) = edited {
            self.write(edited);
        }
    }

    fn runs(&self, index: usize) -> bool {
        self.cluster.taking_part().any(|running| running == index)
    }

    fn disturb(&mut self) {
        let index = self.lot.below(self.nodes);
        match self.lot.below(9) {
            0..3 => self.edit(),
            3 => {
                let down = self.lot.one_in(2);
                self.registry.set_down(down);
            }
            4 => {
                let versions = self.lot.one_in(2).then(|| 1 + self.lot.below(3));
                self.registry.show(index, versions);
            }
            5 if self.lot.one_in(4) => {
                let versions = 1 + self.lot.below(4);
                self.broken |= u64::try_from(versions).unwrap() < self.highest;
                self.registry.restore(versions);
            }
            6 if self.runs(index) => self.registry.crash(&mut self.cluster, index),
            7 => self.restart(index),
            8 if self.lot.one_in(2) => self.cluster.cut([index], 0..self.nodes),
            _ => self.cluster.heal(),
        }
    }

    /// Starts a node again, whether it has crashed or left.
    fn restart(&mut self, index: usize) {
        self.registry.crash(&mut self.cluster, index);
        self.registry.restart(&mut self.cluster, index);
    }

    /// The store is well, an operator has ended what is broken, and all machines run.
    fn calm(&mut self) {
        self.cluster.heal();
        self.registry.set_down(false);
        (0..self.nodes).for_each(|index| self.registry.show(index, None));
        if self.broken {
            let recovered = self.registry.newest().recover(self.highest).unwrap();
            self.write(recovered);
        }
        self.pass(60);
        // Those that left are started again, as an operator does with machines that belong: a
        // machine that was replaced has an empty disk.
        for index in 0..self.nodes {
            if !self.runs(index) || self.registry.left(index).is_some() {
                self.registry.forget(index);
                self.restart(index);
            }
        }
        self.pass(90);
    }

    fn check(&self) {
        let newest = self.registry.newest().document();
        let belongs = |index: usize| newest.member(node_id(index).as_str()).is_some();
        let members: Vec<usize> = (0..self.nodes).filter(|&index| belongs(index)).collect();
        for index in 0..self.nodes {
            let status = self.registry.status(index).expect("its host runs");
            let context = format!("seed {}, n{index}: {}", self.seed, status.state);
            if !belongs(index) {
                assert!(!status.is_ready(), "{context}");
                continue;
            }
            assert_eq!(status.state, State::Current, "{context}");
            assert_eq!(self.registry.in_force(index), Some(newest.version()), "{context}");
            for of in 0..self.nodes {
                let held = self.cluster.status(index, of);
                let expected = members.contains(&of).then_some(Status::Alive);
                assert_eq!(held, expected, "{context} holds n{of}");
            }
        }
    }
}

fn storm(seed: u64) {
    let mut storm = Storm::new(seed);
    for _ in 0..30 {
        storm.disturb();
        let seconds = 1 + storm.lot.below(12) as u64;
        storm.pass(seconds);
    }
    storm.calm();
    storm.check();
}

#[test]
fn a_fleet_is_whole_again_after_whatever_its_registry_did() {
    for_each_seed(60, storm);
}

#[test]
#[ignore = "takes minutes"]
fn a_thousand_fleets_are_whole_again_after_whatever_their_registries_did() {
    for_each_seed(1_000, storm);
}
