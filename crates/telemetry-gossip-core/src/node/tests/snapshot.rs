//! Snapshots: a restored node goes on exactly as the saved one does, and damaged bytes are refused.

use super::*;
use crate::node::snapshot::{RestoreError, STATE_VERSION, SnapshotError};
use proptest::prelude::*;

/// The outputs of a node after one input: datagrams, events and the next deadline.
pub(super) type Outputs = (Vec<(u32, Vec<u8>)>, Vec<Event<u32>>, Option<Instant>);

pub(super) fn outputs(node: &mut Node<u32>) -> Outputs {
    let sent = drain(node);
    (sent, core::iter::from_fn(|| node.poll_event()).collect(), node.poll_timeout())
}

/// A cluster in trouble: datagrams get lost, nodes stop, values change. Each node has a twin that
/// was restored from a snapshot and gets the same inputs.
pub(super) struct Twins {
    pub(super) nodes: Vec<Node<u32>>,
    twins: Vec<Option<Node<u32>>>,
    pub(super) now: Instant,
    wire: alloc::collections::VecDeque<(u32, u32, Vec<u8>)>,
    random: crate::rng::Random,
    compared: usize,
}

impl Twins {
    pub(super) fn new(nodes: u32, seed: u8, config: &Config) -> Self {
        let mut twins = Self {
            nodes: (1..=nodes).map(|address| node(address, config)).collect(),
            twins: core::iter::repeat_with(|| None).take(nodes as usize).collect(),
            now: Instant::ORIGIN,
            wire: Default::default(),
            random: crate::rng::Random::new([seed; 32]),
            compared: 0,
        };
        for address in 1..nodes {
            twins.input(address as usize, &Input::Join { seeds: alloc::vec![1].into() });
        }
        twins
    }

    pub(super) fn input(&mut self, at: usize, input: &Input<'_, u32>) {
        let node = &mut self.nodes[at];
        let result = node.handle(self.now, input.clone());
        let expected = outputs(node);
        if let Some(twin) = &mut self.twins[at] {
            assert_eq!(twin.handle(self.now, input.clone()), result);
            assert_eq!(outputs(twin), expected);
            self.compared += 1;
        }
        let from = u32::try_from(at + 1).unwrap();
        for (to, bytes) in expected.0 {
            self.wire.push_back((from, to, bytes));
        }
        // Now and then restore a new twin, in the middle of everything that is under way.
        if self.random.below(40) == 0 {
            let saved = self.nodes[at].snapshot().unwrap();
            let twin = Node::restore(&saved).unwrap();
            assert_eq!(
                twin.snapshot().unwrap(),
                saved,
                "a snapshot of the restored node equals the snapshot"
            );
            self.twins[at] = Some(twin);
        }
    }

    /// Runs the cluster; the nodes in `stopped` get neither datagrams nor ticks.
    pub(super) fn run_for(&mut self, span: Duration, loss: usize, stopped: &[usize]) {
        let end = self.now + span;
        loop {
            while let Some((from, to, bytes)) = self.wire.pop_front() {
                let at = to as usize - 1;
                if self.random.below(100) >= loss && at < self.nodes.len() && !stopped.contains(&at)
                {
                    self.input(at, &Input::Datagram { from, bytes: bytes.into() });
                }
            }
            let running = || (0..self.nodes.len()).filter(|at| !stopped.contains(at));
            let next = running().filter_map(|at| self.nodes[at].poll_timeout()).min();
            let Some(next) = next.filter(|&at| at <= end) else { break };
            self.now = self.now.max(next);
            let due: Vec<usize> = running()
                .filter(|&at| self.nodes[at].poll_timeout().is_some_and(|due| due <= next))
                .collect();
            for at in due {
                self.input(at, &Input::Tick);
            }
            if self.random.below(20) == 0 {
                let (at, other) =
                    (self.random.below(self.nodes.len()), self.random.below(self.nodes.len()));
                let value = self.now.as_micros().to_le_bytes();
                let key = if self.random.below(2) == 0 { "load" } else { "disk" };
                let input = match self.random.below(6) {
                    0 => Input::Unpublish { key: key.into() },
                    1 => Input::Exchange,
                    2 => Input::Probe { id: id(u32::try_from(other + 1).unwrap()) },
                    urgency => Input::Publish {
                        key: key.into(),
                        value: value[..].into(),
                        urgent: urgency == 3,
                    },
                };
                self.input(at, &input);
            }
        }
        self.now = end;
    }
}

#[test]
fn a_restored_node_goes_on_bit_for_bit() {
    let mut compared = 0;
    let configs = [
        Config::default(),
        Config { detector: DetectorFeatures::SWIM, byte_budget: Some(2_000), ..Config::default() },
        Config { detector: DetectorFeatures::LIFEGUARD, ..Config::local() },
    ];
    for (seed, config) in (0..6).zip(configs.iter().cycle()) {
        let mut twins = Twins::new(9, seed, config);
        twins.run_for(Duration::from_secs(10), 0, &[]);
        twins.run_for(Duration::from_secs(20), 25, &[2]);
        twins.input(4, &Input::Leave);
        twins.run_for(Duration::from_secs(20), 5, &[1, 2]);
        // More than half are gone: isolation.
        twins.run_for(Duration::from_secs(20), 0, &[0, 1, 2, 3, 6, 7]);
        twins.run_for(Duration::from_secs(20), 0, &[]);
        compared += twins.compared;
    }
    assert!(compared > 10_000, "{compared} inputs compared");
}

fn saved() -> Vec<u8> {
    let mut twins = Twins::new(6, 3, &Config::default());
    twins.run_for(Duration::from_secs(15), 20, &[3]);
    // Lose all datagrams, so that a probe begins soon and is under way for a while.
    while twins.nodes[0].detector.probe.is_none() {
        twins.run_for(Duration::from_millis(10), 100, &[3]);
    }
    twins.nodes[0].snapshot().unwrap()
}

#[test]
fn only_a_drained_node_has_a_snapshot_and_only_the_same_version_reads_it() {
    let mut fresh = node(1, &Config::default());
    assert_eq!(fresh.snapshot(), Err(SnapshotError::NotDrained));
    outputs(&mut fresh);
    let mut saved = fresh.snapshot().unwrap();
    let mut table = Membership::new(9);
    fresh.with_table(&mut table, |lent| assert_eq!(lent.snapshot(), Err(SnapshotError::TableLent)));

    assert!(Node::<u32>::restore(&saved).is_ok());
    assert_eq!(
        Node::<u32>::restore(&saved[..saved.len() - 1]).unwrap_err(),
        RestoreError::Malformed
    );
    saved.push(0);
    assert_eq!(Node::<u32>::restore(&saved).unwrap_err(), RestoreError::Malformed);
    saved[0] += 1;
    let found = STATE_VERSION + 1;
    assert_eq!(Node::<u32>::restore(&saved).unwrap_err(), RestoreError::Version { found });
}

#[test]
fn a_slot_of_a_row_that_does_not_exist_is_refused() {
    let saved = saved();
    let mut node = Node::<u32>::restore(&saved).unwrap();
    let target = &mut node.detector.probe.as_mut().expect("a probe is under way").target;
    *target = crate::membership::Slot(target.0 + 100);
    let unsound = Node::<u32>::restore(&node.snapshot().unwrap()).unwrap_err();
    let rule = "each slot that is named is that of a member";
    assert_eq!(unsound, RestoreError::Unsound { part: "node", rule });
}

/// Damaged bytes are refused, or make a node that keeps all invariants. Neither panics.
#[test]
fn a_damaged_snapshot_is_refused_or_sound() {
    let saved = saved();
    let flips = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4);
    let cut = prop::option::weighted(0.1, any::<prop::sample::Index>());
    let config =
        ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let damaged = runner.run(&(flips, cut), |(flips, cut)| {
        let mut bytes = saved.clone();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(mut node) = Node::<u32>::restore(&bytes) {
            prop_assert_eq!(node.check_invariants(), Ok(()));
            for _ in 0..50 {
                let Some(due) = node.poll_timeout() else { break };
                node.handle(due, Input::Tick).unwrap();
                outputs(&mut node);
            }
        }
        Ok(())
    });
    damaged.unwrap();
}

proptest! {
    #[test]
    fn no_bytes_make_restore_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        bytes.insert(0, u8::try_from(STATE_VERSION).unwrap());
        prop_assert!(Node::<u32>::restore(&bytes).is_err());
    }
}
