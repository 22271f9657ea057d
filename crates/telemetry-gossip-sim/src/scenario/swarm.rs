//! Random scenarios: the number of nodes, the faults, their strength and their times come from a
//! seed.
//!
//! A run has two phases. In the first, a random subset of all kinds of faults occurs; with all
//! kinds at once, all runs would look alike. In the second, the network is calm and whole, and the
//! cluster must become live, even if some of its nodes stay down.

mod faults;

use std::time::Duration;

use telemetry_gossip_core::DetectorFeatures;

use super::{Expectations, Group, Load, Operation, Overrides, Scenario, Start, Step};
use crate::liar::LieKind;
use crate::network::{Latency, Network, Shape};
use crate::process::{Memory, Place};
use crate::rng::{Draws, Stream};
use crate::units::Share;
use faults::FAULTS_BY_NAME;

/// The name of random scenarios.
pub(super) const NAME: &str = "swarm";

/// The length of the phase of faults.
const FAULTS: Duration = Duration::from_secs(60);

/// The time that the healed cluster may take to be whole again. It takes at most 30 s after a
/// partition of any length.
const HEALED: Duration = Duration::from_secs(30);

/// The same after liars have answered as members: a newcomer believes in members from the pages of
/// its join for about a minute, even if they are silent by then. The nodes that run must hold each
/// other Alive as soon as otherwise.
const HEALED_OF_LIARS: Duration = Duration::from_secs(75);

/// The longest time until a process that has yielded its id has it back once the other is gone. Its
/// host then repeats what it did when the lies ended: the node heard none of it.
const REGAINED: Duration = Duration::from_secs(12);

/// How long a process that has its id back needs to find all members dead that died meanwhile. It
/// may be the only one that still holds them, and probes one member per second.
fn outdated(nodes: usize) -> Duration {
    Duration::from_secs(30 + nodes as u64)
}

/// How long a node takes to find one more silent member where these outnumber the others: its
/// helpers are silent, too, so it takes itself to be slow and probes once in nine seconds.
const FOUND: Duration = Duration::from_secs(10);

/// The most silent members that nodes are left to find: more take minutes, and end by a config.
const MOST_FOUND: usize = 30;

/// The time within which all nodes know of a crash. Without loss it is 5 s for up to 64 nodes; this
/// bound also covers the longest probe timeout and the worst latency that are drawn here.
const KNOWN: Duration = Duration::from_secs(15);

/// The time from the last crash to the end, long enough for the cluster to become quiet.
const REST: Duration = Duration::from_secs(35);

/// The most bytes per node per second at the end. Idle nodes send 60; sometimes they also contact
/// dead members, and a seal adds 45 to each datagram.
const QUIET: u64 = 400;

/// The time window of a fault, and the number of nodes that it affects.
#[derive(Clone, Copy, Debug)]
struct Window {
    begin: Duration,
    end: Duration,
    /// The number of nodes at the start.
    nodes: usize,
    /// A number of up to a fifth of the nodes.
    few: usize,
    /// The index at which a partition splits the nodes.
    split: usize,
}

/// A random scenario that is being made.
struct Swarm {
    draws: Draws,
    steps: Vec<Step>,
}

impl Swarm {
    /// Draws an index below `len`.
    fn below(&mut self, len: usize) -> usize {
        self.draws.below(len)
    }

    fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    fn percent(&mut self, least: usize, most: usize) -> Share {
        Share::percent(u32::try_from(least + self.below(most - least + 1)).unwrap_or(0))
    }

    fn millis(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.draws.micros_up_to(most * 1_000))
    }

    fn at(&mut self, at: Duration, operation: Operation) {
        self.steps.push(Step { at, operation });
    }

    fn window(&mut self, nodes: usize) -> Window {
        let begin = Duration::from_secs(3) + self.millis(42_000);
        let end = begin + Duration::from_millis(200) + self.millis(14_000);
        let few = 1 + self.below((nodes / 5).max(1));
        let split = nodes * (10 + self.below(81)) / 100;
        Window { begin, end, nodes, few, split }
    }

    fn network(&mut self) -> Network {
        let faulty = |swarm: &mut Self, most: usize| {
            if swarm.one_in(2) { swarm.percent(0, most) } else { Share::NONE }
        };
        let jitter = if self.one_in(3) { 40 } else { 2 };
        Network::default()
            .latency(Latency {
                minimum: Duration::from_micros(100) + self.millis(3),
                jitter: self.millis(jitter),
                shape: if self.one_in(2) { Shape::Uniform } else { Shape::Exponential },
            })
            .loss(faulty(self, 20))
            .duplicate(faulty(self, 10))
            .replay(faulty(self, 5))
    }

    /// Replaces the network during a window.
    fn for_a_while(&mut self, window: Window, network: Network) {
        self.at(window.begin, Operation::Network(network));
        self.at(window.end, Operation::Network(Network::default()));
    }

    /// Makes the key holders of a sealed cluster members: a seal is proved to each receiver by an
    /// answer, so they would not be heard otherwise.
    fn answer_under_a_seal(&mut self, sealed: bool) {
        for step in &mut self.steps {
            if let Operation::Lie(lie) = &mut step.operation {
                lie.member |= sealed && lie.key;
            }
        }
    }

    /// Ends all lies. Where many ids of liars have answered and are silent now, the nodes rightly
    /// consider themselves isolated, until they get a cluster config or their hosts accept the
    /// loss. A node that waits for its id then takes neither, so its host repeats this. Returns how
    /// many silent ids the nodes have to find then.
    fn stop_lying(&mut self, nodes: usize) -> usize {
        let lies = self.steps.iter().filter_map(|step| match &step.operation {
            Operation::Lie(lie) => {
                Some((lie.answering(), lie.answered(FAULTS.saturating_sub(step.at))))
            }
            _ => None,
        });
        let sum = lies.reduce(|all, more| (all.0 + more.0, all.1 + more.1));
        let Some((answering, answered)) = sum else { return 0 };
        self.at(FAULTS, Operation::StopLying {});
        if answering * 6 <= nodes {
            return 0;
        }
        if self.one_in(2) || answered > MOST_FOUND {
            self.at(FAULTS, Operation::Configure(group("all")));
            return 0;
        }
        for since in [Duration::ZERO, REGAINED] {
            let at = FAULTS + since + HEALED / 3;
            self.at(at, Operation::AcceptLoss(group("running")));
        }
        answered
    }

    /// Draws the number of nodes. Most clusters are small, since in small clusters everything that
    /// can happen between nodes happens soon.
    fn nodes(&mut self) -> usize {
        match self.below(128) {
            0..4 => 1,
            4..36 => 2 + self.below(3),
            36..108 => 5 + self.below(8),
            108..124 => 13 + self.below(20),
            124..127 => 33 + self.below(32),
            // One seed in a thousand has a large cluster.
            _ if self.one_in(8) => 250,
            _ => 64,
        }
    }

    fn load(&mut self) -> Load {
        let every = Duration::from_secs(1) + self.millis(5_000);
        let bytes = [8, 100, 300][self.below(3)];
        let keys = [1, 1, 4, 10][self.below(4)];
        Load { every, bytes, keys }
    }

    /// Settings of other nodes, for one cluster in four: another pace, other detectors, limits and
    /// memories.
    fn other_configs(&mut self, first: Overrides) -> Vec<Overrides> {
        if !self.one_in(4) {
            return Vec::new();
        }
        let count = 1 + self.below(2);
        (0..count).map(|_| self.other_config(first)).collect()
    }

    fn other_config(&mut self, first: Overrides) -> Overrides {
        let interval = [500, 700, 1_500, 2_000][self.below(4)];
        let paced = self.one_in(2).then_some(Duration::from_millis(interval));
        let features = DetectorFeatures::default();
        let detectors = [
            DetectorFeatures::LIFEGUARD,
            features.shared_schedule(false),
            features.retries(false),
            features.status_pings(false).flap_damping(false),
        ];
        Overrides {
            probe_interval: paced,
            probe_timeout: paced.map(|interval| interval * 3 / 10),
            mtu: self.one_in(2).then(|| 900 + u16::try_from(self.below(600)).unwrap_or(0)),
            suspicion_max_multiplier: self.one_in(3).then_some(3),
            detector: self.one_in(3).then(|| detectors[self.below(4)]),
            indirect_probes: self.one_in(4).then_some(1),
            gossip_interval: self.one_in(4).then_some(Duration::from_millis(300)),
            telemetry_interval: self.one_in(4).then_some(Duration::from_millis(500)),
            byte_budget: first.byte_budget,
            tombstone_ttl: self.one_in(4).then_some(Duration::from_secs(600)),
            ..Overrides::default()
        }
    }

    fn config(&mut self, sealed: bool) -> Overrides {
        // The smallest MTU that fits an entry of telemetry and a seal.
        let least = if sealed { 768 + 45 } else { 768 };
        Overrides {
            indirect_probes: self.one_in(4).then(|| u8::try_from(self.below(5)).unwrap_or(0)),
            mtu: self.one_in(4).then_some(least),
            byte_budget: self
                .one_in(8)
                .then(|| 1_000 + u32::try_from(self.below(9_000)).unwrap_or(0)),
            ..Overrides::default()
        }
    }
}

fn group(text: &str) -> Group {
    text.parse().unwrap_or_else(|error| unreachable!("{error}"))
}

fn random(count: usize) -> Group {
    group(&format!("random {count}"))
}

/// Whether a step lets a liar answer, under an id of its own or under one that it takes.
fn answers(step: &Step) -> bool {
    match &step.operation {
        Operation::Lie(lie) => lie.kind == LieKind::Rival || lie.answering() > 0,
        _ => false,
    }
}

/// Makes the scenario of a seed.
pub(super) fn scenario(seed: u64) -> Scenario {
    // Derive another seed, so that the run's own random numbers are independent of these choices.
    let draws = Draws::new(seed ^ 0x7377_6172_6d00_0000, Stream::Operations);
    let mut swarm = Swarm { draws, steps: Vec::new() };
    let nodes = swarm.nodes();
    let network = if swarm.one_in(2) { swarm.network() } else { Network::default() };
    let kinds = 1 + swarm.below(6);
    for kind in swarm.draws.choose(FAULTS_BY_NAME.len(), kinds) {
        for _ in 0..1 + swarm.below(3) {
            let window = swarm.window(nodes);
            FAULTS_BY_NAME[kind].1(&mut swarm, window);
        }
    }
    let sealed = swarm.one_in(4);
    swarm.answer_under_a_seal(sealed);
    let (healed, answered) = (swarm.heal(nodes), swarm.steps.iter().any(answers));
    let silent = swarm.stop_lying(nodes);
    let find_silent = FOUND * u32::try_from(silent).unwrap_or(u32::MAX);
    // The twin of a node that crashes at the end takes the id back, and learns the news only then.
    let twins = swarm.steps.iter().any(|step| matches!(step.operation, Operation::Twin(_)));
    let rest = REST + if twins { outdated(nodes) } else { Duration::ZERO } + find_silent;
    let config = swarm.config(sealed);
    let alters = |step: &Step| match &step.operation {
        Operation::Network(network) => network.alter > Share::NONE,
        _ => false,
    };
    let altered = !sealed && swarm.steps.iter().any(alters);
    if altered || swarm.steps.iter().any(|step| matches!(step.operation, Operation::Configure(_))) {
        // Apply the latest config everywhere. It also removes members that altered datagrams made
        // up. If those outnumbered the real members, each node would consider itself isolated.
        swarm.at(FAULTS, Operation::Configure(group("all")));
    }
    let configures = |step: &Step| {
        matches!(
            step.operation,
            Operation::Configure(_)
                | Operation::Join(_)
                | Operation::JoinLong(_)
                | Operation::Replace(_)
        )
    };
    if (answered || twins) && swarm.steps.iter().any(configures) {
        // A node that waits for its id takes no config, so its host repeats it. One that waits for
        // a twin has the id back once that crashes, at the end.
        swarm.at(FAULTS + REGAINED, Operation::Configure(group("all")));
        if twins {
            swarm.at(FAULTS + healed + REGAINED, Operation::Configure(group("all")));
        }
    }
    let telemetry = swarm.one_in(2).then(|| swarm.load());
    Scenario {
        name: NAME.to_owned(),
        about: "Random faults, then a calm phase in which the cluster must become live".to_owned(),
        seeds: Vec::new(),
        nodes,
        start: if swarm.one_in(2) { Start::Joined } else { Start::Known },
        duration: FAULTS + healed + rest,
        config,
        other_configs: swarm.other_configs(config),
        network,
        sealed,
        clock_drift_ppm: if swarm.one_in(3) { 20_000 } else { 0 },
        telemetry,
        steps: swarm.steps,
        expect: Expectations {
            views_complete: true,
            no_false_dead: true,
            known_within: Some(KNOWN),
            // A byte budget thins out the load, and versions from altered datagrams are corrected
            // only when tables are compared. Neither has a time limit.
            telemetry_within: (config.byte_budget.is_none() && !altered).then_some(KNOWN),
            alive_within: Some(if answered { HEALED + REGAINED } else { HEALED }),
            calm_from: FAULTS + healed,
            quiet_below: telemetry.is_none().then_some(QUIET),
            // A fault may find no nodes to affect.
            idle_steps: true,
        },
        file: None,
    }
}

impl Swarm {
    /// Ends all faults. Some nodes crash for good: fewer than half of them, since otherwise the
    /// others would rightly consider themselves isolated. Returns the time until the calm phase.
    fn heal(&mut self, nodes: usize) -> Duration {
        let healed = if self.steps.iter().any(answers) { HEALED_OF_LIARS } else { HEALED };
        self.at(FAULTS, Operation::Heal {});
        self.at(FAULTS, Operation::Network(Network::default()));
        self.at(FAULTS, Operation::Slow { nodes: group("all"), by: Duration::ZERO });
        self.at(FAULTS, Operation::LateTicks { nodes: group("all"), by: Duration::ZERO });
        self.at(FAULTS, Operation::Resume(group("paused")));
        self.at(FAULTS, Operation::Unblock(group("blocked")));
        let (down, memory, rejoin) = (group("down"), Memory::Lost, self.rejoin());
        self.at(FAULTS, Operation::Restart { nodes: down, memory, place: Place::Same, rejoin });
        // Has an effect only if parts of the cluster cannot find each other by a record or a seed.
        self.at(FAULTS, Operation::Reunite {});
        if self.steps.iter().any(|step| matches!(step.operation, Operation::Leave(_))) {
            // Perhaps all nodes have left. A node that missed the leaves of most others considers
            // itself isolated, until its host accepts the loss.
            self.at(FAULTS, Operation::Join(1));
            self.at(FAULTS + HEALED / 2, Operation::AcceptLoss(group("running")));
        }
        if nodes >= 5 && self.one_in(2) {
            self.at(FAULTS + healed, Operation::Crash(group("random 20%")));
        }
        if self.steps.iter().any(|step| matches!(step.operation, Operation::Lie(_))) {
            // A lie may have taken the only record that led to a node which knows no other. And a
            // node that had yielded could not be joined, nor join.
            self.at(FAULTS + REGAINED, Operation::Reunite {});
        }
        healed
    }
}
