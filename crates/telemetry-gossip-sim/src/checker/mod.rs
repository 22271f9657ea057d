//! Watches a run and says which rule broke, where and when.
//!
//! The checker keeps, for every observer, the view that folding its events gives: a second table,
//! made by other code than the table it checks. It is told events, rows and datagrams, and never
//! looks at a node, so a test can tell it what no correct node would do and see it caught.
//!
//! Rows are checked as events name them, which costs little; whole tables are compared from time to
//! time (see [`Checking`]), so that a change without an event is caught too.

mod lattice;
mod payloads;
mod violation;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{Event, Instance, Instant, Status, TelemetryEntry, WireError};

pub(crate) use lattice::{
    merge_in_a_table, merge_is_a_lattice, order_decides_nothing, whole_table,
};
use payloads::Payloads;
pub use violation::{Rule, Violation};

/// How much is checked. Events, datagrams and own rows are always checked unless it is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checking {
    /// Every whole table after every input of its node. For clusters of a few dozen nodes.
    Every,
    /// Whole tables after every input in clusters of up to 32 nodes, else after every 64th.
    #[default]
    Sampled,
    /// Nothing: as fast as it goes.
    Off,
}

impl Checking {
    /// After how many inputs of a node its whole table is compared; `None` for never.
    pub(crate) const fn period(self, nodes: usize) -> Option<u32> {
        match self {
            Self::Every => Some(1),
            Self::Sampled if nodes <= 32 => Some(1),
            Self::Sampled => Some(64),
            Self::Off => None,
        }
    }
}

/// The number that stands for a node id: two processes with one id share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name(pub(crate) u32);

impl Name {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A row of somebody's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) generation: u64,
    pub(crate) status: Status,
    pub(crate) instance: Instance,
    pub(crate) address: Option<u32>,
}

/// What the events said of a member, and what its row showed last.
#[derive(Clone, Copy, Debug)]
struct Shadow {
    generation: u64,
    status: Status,
    /// `None` until a row was seen at this generation and status.
    instance: Option<Instance>,
    address: Address,
    /// By the node's clock, while it is Suspected.
    suspected_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Address {
    /// First heard of as Dead: events do not tell.
    Untold,
    Told(Option<u32>),
}

/// What a node's event followed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Timer,
    /// Its host published telemetry.
    Publication,
    /// A datagram, or another command.
    Input,
}

/// Where and when something was observed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    pub(crate) at: Duration,
    pub(crate) observer: usize,
}

/// Violations kept; more are only counted.
const KEPT: usize = 64;

/// Checks one run.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    shadows: Vec<Vec<Option<Shadow>>>,
    /// By name: the highest generation at which its owner (or the host) said Alive.
    issued: Vec<u64>,
    payloads: Payloads,
    /// No suspicion is shorter.
    shortest_suspicion: Duration,
    /// By name: a process of it was started again. What was said of its earlier life may come late.
    reborn: Vec<bool>,
    /// A node took in a datagram that nobody sent: what is in tables may be nobody's word.
    lied_to: bool,
    violations: Vec<Violation>,
    found: u64,
}

/// Datagrams that go back to the source of one, at most: the answer to its question, a refutation
/// or an accusation that its sender has to hear at once, and the beginning of a session.
const MOST_REPLIES: u32 = 3;

/// A generation that somebody has to refute is no higher: `docs/wire.md`.
const HIGHEST_ACCUSED: u64 = (1 << 56) + (1 << 31);

impl Checker {
    pub(crate) fn new(shortest_suspicion: Duration) -> Self {
        Self { shortest_suspicion, ..Self::default() }
    }

    pub(crate) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How many there were, kept or not.
    pub(crate) fn found(&self) -> u64 {
        self.found
    }

    pub(crate) fn report(&mut self, spot: Spot, rule: Rule, detail: String) {
        self.found += 1;
        if self.violations.len() < KEPT {
            self.violations.push(Violation { rule, at: spot.at, node: spot.observer, detail });
        }
    }

    /// A process of this name has a new life.
    pub(crate) fn reborn(&mut self, name: Name) {
        if self.reborn.len() <= name.index() {
            self.reborn.resize(name.index() + 1, false);
        }
        self.reborn[name.index()] = true;
    }

    /// A process starts: it knows nobody.
    pub(crate) fn boot(&mut self, observer: usize) {
        if self.shadows.len() <= observer {
            self.shadows.resize_with(observer + 1, Vec::new);
        }
        self.shadows[observer].clear();
    }

    /// The owner of a name, or the host, says Alive at a generation.
    pub(crate) fn issued(&mut self, name: Name, generation: u64) {
        if self.issued.len() <= name.index() {
            self.issued.resize(name.index() + 1, 0);
        }
        let highest = &mut self.issued[name.index()];
        *highest = generation.max(*highest);
    }

    fn highest_issued(&self, name: Name) -> u64 {
        self.issued.get(name.index()).copied().unwrap_or(0)
    }

    fn shadow(&mut self, observer: usize, name: Name) -> &mut Option<Shadow> {
        if self.shadows.len() <= observer {
            self.shadows.resize_with(observer + 1, Vec::new);
        }
        let row = &mut self.shadows[observer];
        if row.len() <= name.index() {
            row.resize(name.index() + 1, None);
        }
        &mut row[name.index()]
    }

    /// Folds an event about another member. `now` is the node's time.
    pub(crate) fn event(
        &mut self,
        spot: Spot,
        name: Name,
        event: &Event<u32>,
        cause: Cause,
        now: Instant,
    ) {
        let held = *self.shadow(spot.observer, name);
        if cause == Cause::Publication && !matches!(event, Event::Telemetry { .. }) {
            self.report(spot, Rule::S10, format!("{event:?} came of a publication"));
        }
        if cause == Cause::Timer && matches!(event, Event::Dead { .. }) {
            self.expired(spot, name, held, now);
        }
        let (status, generation) = match *event {
            Event::Joined { address, generation, .. } => {
                if held.is_some() {
                    self.report(spot, Rule::S18, format!("{event:?}, but it was known"));
                }
                let address = Address::Told(address);
                // No word of Alive yet: whoever is first heard of as Suspected joins at that
                // generation. The row tells.
                let joined = Shadow {
                    generation: generation.0,
                    status: Status::Alive,
                    instance: None,
                    address,
                    suspected_at: None,
                };
                *self.shadow(spot.observer, name) = Some(joined);
                return;
            }
            Event::Alive { generation, .. } => (Status::Alive, generation.0),
            Event::Suspected { generation, .. } => (Status::Suspected, generation.0),
            Event::Dead { generation, .. } => (Status::Dead, generation.0),
            Event::Left { generation, .. } => (Status::Left, generation.0),
            Event::Moved { address, .. } => {
                match self.shadow(spot.observer, name) {
                    Some(shadow) => *shadow = Shadow { address: Address::Told(address), ..*shadow },
                    None => self.report(
                        spot,
                        Rule::S18,
                        format!("{event:?}, but nobody of that name is known"),
                    ),
                }
                return;
            }
            Event::Removed { .. } => {
                if self.shadow(spot.observer, name).take().is_none() {
                    self.report(
                        spot,
                        Rule::S18,
                        format!("{event:?}, but nobody of that name is known"),
                    );
                }
                return;
            }
            _ => return,
        };
        if held.is_none() && !matches!(status, Status::Dead | Status::Left) {
            self.report(spot, Rule::S18, format!("{event:?} of a member that never joined"));
        }
        let address = held.map_or(Address::Untold, |held| held.address);
        let suspected_at = (status == Status::Suspected).then_some(now);
        self.change(
            spot,
            name,
            held,
            Shadow { generation, status, instance: None, address, suspected_at },
        );
    }

    /// A node declares a member Dead by itself.
    fn expired(&mut self, spot: Spot, name: Name, held: Option<Shadow>, now: Instant) {
        let since = held.and_then(|held| held.suspected_at);
        let shortest = self.shortest_suspicion;
        if since.is_none_or(|since| now.since(since) < shortest) {
            let detail = match since {
                Some(since) => {
                    format!(
                        "#{} was suspected for {:?}, not {shortest:?}",
                        name.0,
                        now.since(since)
                    )
                }
                None => format!("#{} was not suspected", name.0),
            };
            self.report(spot, Rule::S11, detail);
        }
    }

    /// The table of `observer` holds this of another member, or nothing.
    pub(crate) fn row(&mut self, spot: Spot, name: Name, row: Option<Row>) {
        let held = *self.shadow(spot.observer, name);
        let (Some(row), Some(shadow)) = (row, held) else {
            if row.is_some() || held.is_some() {
                let detail =
                    format!("of #{}: the table holds {row:?}, the events say {held:?}", name.0);
                self.report(spot, Rule::S18, detail);
            }
            *self.shadow(spot.observer, name) = row.map(|row| Shadow::seen(row, None));
            return;
        };
        let told = match shadow.address {
            Address::Untold => true,
            Address::Told(address) => address == row.address,
        };
        if (row.generation, row.status) != (shadow.generation, shadow.status) || !told {
            let detail =
                format!("of #{}: the table holds {row:?}, the events say {shadow:?}", name.0);
            self.report(spot, Rule::S18, detail);
        } else if shadow.instance.is_some_and(|instance| row.instance < instance) {
            let detail = format!(
                "of #{}: a tie went to the lower instance, from {shadow:?} to {row:?}",
                name.0
            );
            self.report(spot, Rule::S1, detail);
        }
        self.change(spot, name, held, Shadow::seen(row, shadow.suspected_at));
    }

    /// The table of `observer`, whose name is `own`, has this many rows about others.
    pub(crate) fn len(&mut self, spot: Spot, own: Name, len: usize) {
        let shadows = self.shadows.get(spot.observer).map(Vec::as_slice).unwrap_or_default();
        let others =
            shadows.iter().enumerate().filter(|(name, row)| *name != own.index() && row.is_some());
        let folded = others.count();
        if folded != len {
            let detail = format!("the table holds {len} others, the events say {folded}");
            self.report(spot, Rule::S18, detail);
        }
    }

    fn change(&mut self, spot: Spot, name: Name, held: Option<Shadow>, new: Shadow) {
        let highest = self.highest_issued(name);
        if new.status != Status::Alive && new.generation > HIGHEST_ACCUSED {
            let detail = format!(
                "#{} is held {} at {}: too high to refute",
                name.0, new.status, new.generation
            );
            self.report(spot, Rule::S5, detail);
        }
        if new.status == Status::Alive && new.generation > highest && !self.lied_to {
            let detail = format!(
                "#{} is held Alive at generation {}, its owner never went above {highest}",
                name.0, new.generation
            );
            self.report(spot, Rule::S4, detail);
        }
        if let Some(held) = held {
            let step = || {
                format!(
                    "#{} went from {} at {} to {} at {}",
                    name.0, held.status, held.generation, new.status, new.generation
                )
            };
            let gone = matches!(held.status, Status::Dead | Status::Left);
            if new.generation < held.generation {
                self.report(spot, Rule::S3, step());
            } else if gone && new.status == Status::Alive && new.generation == held.generation {
                self.report(spot, Rule::S7, step());
            } else if gone && new.status == Status::Suspected {
                // Above a Left, an accusation stands only on an Alive that the owner said after
                // leaving, or in an earlier life, or that a liar said.
                let unsaid =
                    self.lied_to || self.reborn.get(name.index()).is_some_and(|&reborn| reborn);
                let after =
                    if held.status == Status::Left && !unsaid { highest } else { new.generation };
                if new.generation == held.generation || after <= held.generation {
                    self.report(spot, Rule::S8, step());
                }
            }
        }
        *self.shadow(spot.observer, name) = Some(new);
    }

    /// What a node holds of itself.
    pub(crate) fn own_row(&mut self, spot: Spot, name: Name, row: Row, active: bool) {
        if row.status == Status::Alive {
            self.issued(name, row.generation);
        }
        if active && matches!(row.status, Status::Dead | Status::Suspected) {
            self.report(
                spot,
                Rule::S6,
                format!("it holds itself {} at {}", row.status, row.generation),
            );
        }
        match *self.shadow(spot.observer, name) {
            Some(held) if row.generation < held.generation => {
                let detail = format!(
                    "its own generation fell from {} to {}",
                    held.generation, row.generation
                );
                self.report(spot, Rule::S3, detail);
            }
            _ => {}
        }
        *self.shadow(spot.observer, name) = Some(Shadow::seen(row, None));
    }

    /// A node's table holds a member that is no process and that no host told of.
    pub(crate) fn unheard_of(&mut self, spot: Spot, id: &str) {
        if !self.lied_to {
            self.report(spot, Rule::S4, format!("{id:?} is the id of no process"));
        }
    }

    /// A node is about to take in what nobody sent. From now on its word, and that of all who
    /// believe it, may be a liar's: who said what is no longer checked, all else is.
    pub(crate) fn lied_to(&mut self) {
        self.lied_to = true;
    }

    /// An entry of a member's telemetry, as a node reads it.
    pub(crate) fn payload(
        &mut self,
        spot: Spot,
        name: Name,
        instance: Instance,
        entry: &TelemetryEntry<'_>,
    ) {
        if !self.lied_to && !self.payloads.agree(name, instance, entry) {
            let detail = format!(
                "{:?} of #{} at version {} reads otherwise",
                entry.key, name.0, entry.version
            );
            self.report(spot, Rule::S9, detail);
        }
    }

    /// A seal opened a datagram that was altered after it was sealed.
    pub(crate) fn opened_altered(&mut self, spot: Spot, len: usize) {
        self.report(spot, Rule::Seal, format!("{len} bytes were opened that nobody sealed"));
    }

    /// A node refused what a peer has really sent.
    pub(crate) fn refused(&mut self, spot: Spot, error: WireError, len: usize) {
        self.report(spot, Rule::Wire, format!("{error}: {len} bytes"));
    }

    /// A node was ticked at its deadline and names one that has passed, too.
    pub(crate) fn stuck(&mut self, spot: Spot, deadline: Instant, next: Instant) {
        self.report(spot, Rule::S15, format!("it ticked at {deadline} and asks for {next} next"));
    }

    /// So many datagrams went back to the source of one.
    pub(crate) fn replies(&mut self, spot: Spot, count: u32) {
        if count > MOST_REPLIES {
            self.report(spot, Rule::S17, format!("{count} datagrams in reply to one"));
        }
    }

    /// A datagram of `len` bytes was sent.
    pub(crate) fn datagram(&mut self, spot: Spot, len: usize, mtu: usize) {
        if len > mtu {
            self.report(spot, Rule::S13, format!("a datagram of {len} bytes, the MTU is {mtu}"));
        }
    }

    /// The table has `len` rows.
    pub(crate) fn table_len(&mut self, spot: Spot, len: usize, limit: usize) {
        if len > limit {
            self.report(spot, Rule::S14, format!("{len} members in a table of at most {limit}"));
        }
    }

    /// A member's telemetry takes `len` bytes.
    pub(crate) fn telemetry_len(&mut self, spot: Spot, name: Name, len: usize, limit: usize) {
        if len > limit {
            let detail = format!("{len} bytes of telemetry of #{}, the limit is {limit}", name.0);
            self.report(spot, Rule::S14, detail);
        }
    }
}

impl Shadow {
    fn seen(row: Row, suspected_at: Option<Instant>) -> Self {
        Self {
            generation: row.generation,
            status: row.status,
            instance: Some(row.instance),
            address: Address::Told(row.address),
            suspected_at: suspected_at.filter(|_| row.status == Status::Suspected),
        }
    }
}

#[cfg(test)]
mod tests;
