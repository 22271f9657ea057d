//! Random scenarios: which faults, how strong, how many nodes and when, all from a seed.
//!
//! A swarm run has two phases. In the first a random subset of all kinds of faults is at work, the rest are absent: with
//! all of them at once every run would look alike. In the second the network is calm and whole, and the cluster must
//! become live, though some of its nodes stay down.

use std::time::Duration;

use super::{Expectations, Group, Load, Operation, Overrides, Scenario, Start, Step};
use crate::network::{Kind, Latency, LoseKind, Network, Shape};
use crate::process::{Memory, Place, Rejoin};
use crate::rng::{Draws, Stream};
use crate::units::Share;

/// The name of random scenarios.
pub(super) const NAME: &str = "swarm";

/// How long faults are at work.
const FAULTS: Duration = Duration::from_secs(60);

/// How long the healed cluster may take to be whole again: a partition of any length is, in 30 s.
const HEALED: Duration = Duration::from_secs(30);

/// A crash among at most 64 is known to all within 5 s where nothing is lost; with the longest probe timeout and the
/// worst latency that is drawn here, within this.
const KNOWN: Duration = Duration::from_secs(15);

/// From the last crash on, with time to be quiet.
const REST: Duration = Duration::from_secs(35);

/// Idle nodes send 60 B a second each; beside that the dead are called now and then, and 45 B go for each seal.
const QUIET: u64 = 400;

/// A kind of fault, which is begun and ended within the first phase.
type Fault = fn(&mut Swarm, Spell);

/// All kinds, by name. A new one belongs at the end: it changes what other seeds do, but not what they are made of.
const FAULTS_BY_NAME: [(&str, Fault); 25] = [
    ("crash", Swarm::crash),
    ("restart-all", Swarm::restart_all),
    ("pause", Swarm::pause),
    ("block", Swarm::block),
    ("slow", Swarm::slow),
    ("jump", Swarm::jump),
    ("partition", Swarm::partition),
    ("bridge", Swarm::bridge),
    ("cut", Swarm::cut),
    ("mute", Swarm::mute),
    ("deaf", Swarm::deaf),
    ("ring", Swarm::ring),
    ("network", Swarm::worse_network),
    ("lose-kind", Swarm::lose_kind),
    ("lose-long", Swarm::lose_long),
    ("zones", Swarm::zones),
    ("replay", Swarm::replay),
    ("alter", Swarm::alter),
    ("join", Swarm::join),
    ("leave", Swarm::leave),
    ("twin", Swarm::twin),
    ("ghosts", Swarm::ghosts),
    ("configure", Swarm::configure),
    ("accept-loss", Swarm::accept_loss),
    ("restart-soon", Swarm::restart_soon),
];

/// When a fault is at work, and on how many.
#[derive(Clone, Copy, Debug)]
struct Spell {
    begin: Duration,
    end: Duration,
    /// Nodes at the start.
    nodes: usize,
    /// Up to a fifth of them.
    few: usize,
    /// Where two sides part.
    split: usize,
}

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

    fn percent(&mut self, least: usize, most: usize) -> Share {
        Share::percent(u32::try_from(least + self.below(most - least + 1)).unwrap_or(0))
    }

    fn millis(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.draws.micros_up_to(most * 1_000))
    }

    fn at(&mut self, at: Duration, operation: Operation) {
        self.steps.push(Step { at, operation });
    }

    fn spell(&mut self, nodes: usize) -> Spell {
        let begin = Duration::from_secs(3) + self.millis(42_000);
        let end = begin + Duration::from_millis(200) + self.millis(14_000);
        let few = 1 + self.below((nodes / 5).max(1));
        let split = nodes * (10 + self.below(81)) / 100;
        Spell { begin, end, nodes, few, split }
    }

    fn network(&mut self) -> Network {
        let faulty = |swarm: &mut Self, most: usize| {
            if swarm.one_in(2) { swarm.percent(0, most) } else { Share::NONE }
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
            ..Network::default()
        }
    }

    /// A network that is as it is by default but for `change`, for the time of a spell.
    fn for_a_while(&mut self, spell: Spell, network: Network) {
        self.at(spell.begin, Operation::Network(network));
        self.at(spell.end, Operation::Network(Network::default()));
    }

    fn crash(&mut self, spell: Spell) {
        self.at(spell.begin, Operation::Crash(random(spell.few)));
        let memory = self.memory();
        let place = if self.one_in(3) { Place::New } else { Place::Same };
        let rejoin = self.rejoin();
        self.at(spell.end, Operation::Restart { nodes: group("down"), memory, place, rejoin });
    }

    /// A few are back, once or several times, before any other node has noticed.
    fn restart_soon(&mut self, spell: Spell) {
        let mut begin = spell.begin;
        for _ in 0..1 + self.below(3) {
            self.at(begin, Operation::Crash(random(spell.few)));
            let (memory, rejoin) = (self.memory(), self.rejoin());
            let back = begin + Duration::from_millis(1) + self.millis(500);
            let nodes = group("down");
            self.at(back, Operation::Restart { nodes, memory, place: Place::Same, rejoin });
            begin = back + self.millis(5_000);
        }
    }

    fn rejoin(&mut self) -> Rejoin {
        [Rejoin::Running, Rejoin::Alone, Rejoin::OldSeeds, Rejoin::File][self.below(4)]
    }

    fn memory(&mut self) -> Memory {
        if self.one_in(2) { Memory::Kept } else { Memory::Lost }
    }

    /// All at once, some of them perhaps later than others.
    fn restart_all(&mut self, spell: Spell) {
        self.at(spell.begin, Operation::Crash(group("all")));
        let memory = self.memory();
        let half = format!("0..{}", spell.split.max(1));
        let soon = spell.begin + self.millis(3_000);
        for (at, nodes) in [(soon, half.as_str()), (spell.end, "down")] {
            let (nodes, place, rejoin) = (group(nodes), Place::Same, self.rejoin());
            self.at(at, Operation::Restart { nodes, memory, place, rejoin });
        }
    }

    fn pause(&mut self, spell: Spell) {
        self.at(spell.begin, Operation::Pause(random(spell.few)));
        self.at(spell.end, Operation::Resume(group("paused")));
    }

    fn block(&mut self, spell: Spell) {
        self.at(spell.begin, Operation::Block(random(spell.few)));
        self.at(spell.end, Operation::Unblock(group("blocked")));
    }

    fn slow(&mut self, spell: Spell) {
        let by = Duration::from_millis(1) + self.millis(400);
        self.at(spell.begin, Operation::Slow { nodes: random(spell.few), by });
        self.at(spell.end, Operation::Slow { nodes: group("all"), by: Duration::ZERO });
    }

    fn jump(&mut self, spell: Spell) {
        let (most, back) = if self.one_in(3) { (2_000, true) } else { (20_000, false) };
        let by = self.millis(most);
        self.at(spell.begin, Operation::Jump { nodes: random(spell.few), by, back });
    }

    fn partition(&mut self, spell: Spell) {
        let (left, right) = sides(spell);
        self.at(spell.begin, Operation::Partition { left, right });
        self.at(spell.end, Operation::Heal {});
    }

    /// A partition with one node that reaches both sides.
    fn bridge(&mut self, spell: Spell) {
        let right = group(&format!("{}..{}", spell.split + 1, spell.nodes));
        self.at(spell.begin, Operation::Partition { left: sides(spell).0, right });
        self.at(spell.end, Operation::Heal {});
    }

    fn cut(&mut self, spell: Spell) {
        let (from, to) = sides(spell);
        self.at(spell.begin, Operation::Cut { from, to });
        self.at(spell.end, Operation::Heal {});
    }

    /// The socket of a few refuses to send, more or less.
    fn mute(&mut self, spell: Spell) {
        let loss = self.percent(20, 100);
        self.at(spell.begin, Operation::Lose { from: random(spell.few), to: group("all"), loss });
        self.at(spell.end, Operation::Heal {});
    }

    fn deaf(&mut self, spell: Spell) {
        let loss = self.percent(20, 100);
        self.at(spell.begin, Operation::Lose { from: group("all"), to: random(spell.few), loss });
        self.at(spell.end, Operation::Heal {});
    }

    fn ring(&mut self, spell: Spell) {
        let reach = 1 + self.below(3);
        self.at(spell.begin, Operation::Ring(reach));
        self.at(spell.end, Operation::Heal {});
    }

    fn worse_network(&mut self, spell: Spell) {
        let network = self.network();
        self.for_a_while(spell, network);
    }

    fn lose_kind(&mut self, spell: Spell) {
        let kinds = [Kind::Ping, Kind::Ack, Kind::Relay, Kind::Claims, Kind::Telemetry, Kind::Session];
        let kind = kinds[self.below(kinds.len())];
        let share = self.percent(30, 100);
        let lose_kind = Some(LoseKind { kind, share });
        self.for_a_while(spell, Network { lose_kind, ..Network::default() });
    }

    fn lose_long(&mut self, spell: Spell) {
        let lose_above = 100 + u32::try_from(self.below(900)).unwrap_or(0);
        self.for_a_while(spell, Network { lose_above, ..Network::default() });
    }

    fn zones(&mut self, spell: Spell) {
        let zones = 2 + u32::try_from(self.below(3)).unwrap_or(0);
        let between_zones = self.millis(120);
        self.for_a_while(spell, Network { zones, between_zones, ..Network::default() });
    }

    /// Copies come late, across restarts, too.
    fn replay(&mut self, spell: Spell) {
        let replay_within = Duration::from_secs(1) + self.millis(50_000);
        let replay = self.percent(1, 30);
        self.for_a_while(spell, Network { replay, replay_within, ..Network::default() });
    }

    fn alter(&mut self, spell: Spell) {
        let alter = self.percent(1, 20);
        self.for_a_while(spell, Network { alter, ..Network::default() });
    }

    fn join(&mut self, spell: Spell) {
        self.at(spell.begin, Operation::Join(spell.few));
    }

    fn leave(&mut self, spell: Spell) {
        self.at(spell.begin, Operation::Leave(random(1)));
    }

    /// The two hear of each other from third parties, who must not all have twins themselves.
    fn twin(&mut self, spell: Spell) {
        if spell.nodes > 4 {
            self.at(spell.begin, Operation::Twin(random(1)));
        }
    }

    fn ghosts(&mut self, spell: Spell) {
        self.at(spell.begin, Operation::Ghosts { nodes: random(spell.few), count: spell.few });
    }

    /// The registry's word, which not all hear; those who come later are not in it until it is said again.
    fn configure(&mut self, spell: Spell) {
        let told = if self.one_in(2) { group("running") } else { random(1 + spell.nodes / 2) };
        self.at(spell.begin, Operation::Configure(told));
        self.at(spell.end, Operation::Configure(group("running")));
    }

    fn accept_loss(&mut self, spell: Spell) {
        let (left, right) = sides(spell);
        self.at(spell.begin, Operation::Partition { left, right });
        self.at(spell.begin + Duration::from_secs(6), Operation::AcceptLoss(group("running")));
        self.at(spell.end.max(spell.begin + Duration::from_secs(8)), Operation::Heal {});
    }

    /// Most clusters are small: there all that can happen between nodes happens, and soon.
    fn nodes(&mut self) -> usize {
        match self.below(128) {
            0..4 => 1,
            4..36 => 2 + self.below(3),
            36..108 => 5 + self.below(8),
            108..124 => 13 + self.below(20),
            124..127 => 33 + self.below(32),
            // In one seed of a thousand, as large as the fleet.
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

    fn config(&mut self, sealed: bool) -> Overrides {
        // The least that holds an entry of telemetry, and a seal.
        let least = if sealed { 768 + 45 } else { 768 };
        Overrides {
            indirect_probes: self.one_in(4).then(|| u8::try_from(self.below(5)).unwrap_or(0)),
            mtu: self.one_in(4).then_some(least),
            byte_budget: self.one_in(8).then(|| 1_000 + u32::try_from(self.below(9_000)).unwrap_or(0)),
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

/// The nodes below the split, and the others of the start.
fn sides(spell: Spell) -> (Group, Group) {
    (group(&format!("0..{}", spell.split)), group(&format!("{}..{}", spell.split, spell.nodes)))
}

/// The scenario of a seed.
pub(super) fn scenario(seed: u64) -> Scenario {
    // Another seed than the run's own streams, so that what happens has nothing to do with what was chosen.
    let draws = Draws::new(seed ^ 0x7377_6172_6d00_0000, Stream::Operations);
    let mut swarm = Swarm { draws, steps: Vec::new() };
    let nodes = swarm.nodes();
    let network = if swarm.one_in(2) { swarm.network() } else { Network::default() };
    let kinds = 1 + swarm.below(6);
    for kind in swarm.draws.choose(FAULTS_BY_NAME.len(), kinds) {
        for _ in 0..1 + swarm.below(3) {
            let spell = swarm.spell(nodes);
            FAULTS_BY_NAME[kind].1(&mut swarm, spell);
        }
    }
    swarm.heal(nodes);
    let sealed = swarm.one_in(4);
    let config = swarm.config(sealed);
    let alters =
        |step: &Step| matches!(&step.operation, Operation::Network(network) if network.alter > Share::NONE);
    let lied_to = !sealed && swarm.steps.iter().any(alters);
    if lied_to || swarm.steps.iter().any(|step| matches!(step.operation, Operation::Configure(_))) {
        // The latest word for all. Whom a liar has made up, it removes: of more such than members nobody could tell whether they
        // are dead or it is cut off.
        swarm.at(FAULTS, Operation::Configure(group("all")));
    }
    let telemetry = swarm.one_in(2).then(|| swarm.load());
    Scenario {
        name: NAME.to_owned(),
        about: "Random faults, then calm, in which the cluster must become live".to_owned(),
        seeds: Vec::new(),
        nodes,
        start: if swarm.one_in(2) { Start::Joined } else { Start::Known },
        duration: FAULTS + HEALED + REST,
        config,
        network,
        sealed,
        clock_drift_ppm: if swarm.one_in(3) { 20_000 } else { 0 },
        telemetry,
        steps: swarm.steps,
        expect: Expectations {
            views_complete: true,
            no_false_dead: true,
            known_within: Some(KNOWN),
            // Under a budget, load thins out. Versions that a liar has made up are set right when tables are compared.
            telemetry_within: (config.byte_budget.is_none() && !lied_to).then_some(KNOWN),
            calm_from: FAULTS + HEALED,
            quiet_below: telemetry.is_none().then_some(QUIET),
            // A fault may find nobody left to befall.
            idle_steps: true,
        },
        file: None,
    }
}

impl Swarm {
    /// The end of the faults. Some nodes stay broken: fewer than half, or the others would rightly take themselves for cut off.
    fn heal(&mut self, nodes: usize) {
        self.at(FAULTS, Operation::Heal {});
        self.at(FAULTS, Operation::Network(Network::default()));
        self.at(FAULTS, Operation::Slow { nodes: group("all"), by: Duration::ZERO });
        self.at(FAULTS, Operation::Resume(group("paused")));
        self.at(FAULTS, Operation::Unblock(group("blocked")));
        let (down, memory, rejoin) = (group("down"), Memory::Lost, self.rejoin());
        self.at(FAULTS, Operation::Restart { nodes: down, memory, place: Place::Same, rejoin });
        // Only where no record and no seed is left that leads from one part of the cluster to another.
        self.at(FAULTS, Operation::Reunite {});
        if self.steps.iter().any(|step| matches!(step.operation, Operation::Leave(_))) {
            // Perhaps all have left. Who could not hear that most have takes itself for cut off, and has to be told.
            self.at(FAULTS, Operation::Join(1));
            self.at(FAULTS + HEALED / 2, Operation::AcceptLoss(group("running")));
        }
        if nodes >= 5 && self.one_in(2) {
            self.at(FAULTS + HEALED, Operation::Crash(group("random 20%")));
        }
    }
}
