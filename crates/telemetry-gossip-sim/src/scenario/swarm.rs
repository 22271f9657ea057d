//! Random scenarios: which faults, how strong, how many nodes and when, all from a seed.
//!
//! A swarm run has two phases. In the first a random subset of all kinds of faults is at work, the rest are absent: with
//! all of them at once every run would look alike. In the second the network is calm and whole, and the cluster must
//! become live, though some of its nodes stay down.

use std::time::Duration;

use super::{Expectations, Load, Operation, Overrides, Scenario, Start, Step};
use crate::network::{Latency, Network, Shape};
use crate::process::{Memory, Place};
use crate::rng::{Draws, Stream};
use crate::units::Share;

/// The name of random scenarios.
pub(super) const NAME: &str = "swarm";

/// How long faults are at work.
const FAULTS: Duration = Duration::from_secs(90);

/// How long the healed cluster has to become live.
const CALM: Duration = Duration::from_secs(90);

struct Swarm {
    draws: Draws,
    steps: Vec<Step>,
}

impl Swarm {
    /// An index below `len`.
    fn below(&mut self, len: usize) -> usize {
        self.draws.below(len)
    }

    fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    fn millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.draws.micros_up_to(most))
    }

    fn at(&mut self, at: Duration, operation: Operation) {
        self.steps.push(Step { at, operation });
    }

    fn network(&mut self) -> Network {
        let faulty = |swarm: &mut Self, most: usize| {
            let percent = if swarm.one_in(2) { swarm.below(most + 1) } else { 0 };
            Share::percent(u32::try_from(percent).unwrap_or(0))
        };
        let jitter = if self.one_in(3) { 40 } else { 2 };
        Network {
            latency: Latency {
                minimum: Duration::from_micros(100) + self.millis(3),
                jitter: self.millis(jitter),
                shape: if self.one_in(2) { Shape::Uniform } else { Shape::Exponential },
            },
            loss: faulty(self, 20),
            duplicate: faulty(self, 10),
            replay: faulty(self, 5),
            lose_above: if self.one_in(8) { 600 } else { 0 },
            ..Network::default()
        }
    }

    /// One spell of one kind of fault, begun and ended within the first phase.
    fn spell(&mut self, kind: usize, nodes: usize) {
        let begin = Duration::from_secs(5) + self.millis(60_000);
        let end = begin + Duration::from_millis(200) + self.millis(23_000);
        let few = 1 + self.below((nodes / 5).max(1));
        let some = format!("random {few}");
        let group = |text: String| text.parse().unwrap_or_else(|error| unreachable!("{error}"));
        let (share, rest) = (10 + self.below(81), nodes);
        let split = format!("0..{}", rest * share / 100);
        let others = format!("{}..{nodes}", rest * share / 100);
        match kind {
            0 => {
                self.at(begin, Operation::Crash(group(some)));
                let memory = if self.one_in(2) { Memory::Kept } else { Memory::Lost };
                let place = if self.one_in(3) { Place::New } else { Place::Same };
                self.at(end, Operation::Restart { nodes: group("down".to_owned()), memory, place });
            }
            1 => {
                self.at(begin, Operation::Pause(group(some)));
                self.at(end, Operation::Resume(group("paused".to_owned())));
            }
            2 => {
                self.at(begin, Operation::Partition { left: group(split), right: group(others) });
                self.at(end, Operation::Heal {});
            }
            3 => {
                self.at(begin, Operation::Cut { from: group(split), to: group(others) });
                self.at(end, Operation::Heal {});
            }
            4 => {
                let loss = Share::percent(u32::try_from(20 + self.below(81)).unwrap_or(0));
                self.at(begin, Operation::Lose { from: group(some), to: group("all".to_owned()), loss });
                self.at(end, Operation::Heal {});
            }
            5 => {
                let reach = 1 + self.below(3);
                self.at(begin, Operation::Ring(reach));
                self.at(end, Operation::Heal {});
            }
            6 => {
                let network = self.network();
                self.at(begin, Operation::Network(network));
            }
            7 => self.at(begin, Operation::Join(few)),
            _ => self.at(begin, Operation::Leave(group("random 1".to_owned()))),
        }
    }
}

/// The scenario of a seed.
pub(super) fn scenario(seed: u64) -> Scenario {
    // Another seed than the run's own streams, so that what happens has nothing to do with what was chosen.
    let draws = Draws::new(seed ^ 0x7377_6172_6d00_0000, Stream::Operations);
    let mut swarm = Swarm { draws, steps: Vec::new() };
    let nodes = if swarm.one_in(4) { 2 + swarm.below(4) } else { 5 + swarm.below(26) };
    let network = if swarm.one_in(2) { swarm.network() } else { Network::default() };
    for kind in 0..9 {
        if swarm.one_in(3) {
            for _ in 0..1 + swarm.below(3) {
                swarm.spell(kind, nodes);
            }
        }
    }
    let all = |text: &str| text.parse().unwrap_or_else(|error| unreachable!("{error}"));
    swarm.at(FAULTS, Operation::Heal {});
    swarm.at(FAULTS, Operation::Network(Network::default()));
    swarm.at(FAULTS, Operation::Resume(all("paused")));
    // Some stay broken: fewer than half, or the others would rightly take themselves for cut off.
    swarm.at(FAULTS, Operation::Restart { nodes: all("down"), memory: Memory::Lost, place: Place::Same });
    if nodes >= 5 && swarm.one_in(2) {
        swarm.at(FAULTS + Duration::from_secs(30), Operation::Crash(all("random 20%")));
    }
    let load = Load { every: Duration::from_secs(1) + swarm.millis(5_000), bytes: 8 };
    Scenario {
        name: NAME.to_owned(),
        about: "Random faults, then calm, in which the cluster must become live".to_owned(),
        nodes,
        start: if swarm.one_in(2) { Start::Joined } else { Start::Known },
        duration: FAULTS + CALM,
        config: Overrides {
            indirect_probes: swarm.one_in(4).then(|| u8::try_from(swarm.below(5)).unwrap_or(0)),
            mtu: swarm.one_in(4).then_some(768),
            ..Overrides::default()
        },
        network,
        clock_drift_ppm: if swarm.one_in(3) { 20_000 } else { 0 },
        telemetry: swarm.one_in(2).then_some(load),
        steps: swarm.steps,
        // A fault may find nobody left to befall.
        expect: Expectations { views_complete: true, idle_steps: true, ..Expectations::default() },
        file: None,
    }
}
