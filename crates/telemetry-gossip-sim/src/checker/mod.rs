//! Checks a run against the rules of the protocol, and reports violations with their time and
//! place.
//!
//! For every observer the checker keeps the view that results from folding the observer's events: a
//! second table, built by other code than the table under test. The checker gets events, rows and
//! datagrams, and never a node itself, so a test can show it the behaviour of an incorrect node and
//! prove that it is caught.
//!
//! The rows that events name are checked at once, which is cheap. Whole tables are compared from
//! time to time (see [`Checking`]), so that a change without an event is caught too.

mod lattice;
mod payloads;
mod violation;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{Event, Instance, Instant, Status, TelemetryEntry, WireError};

use crate::network::Kind;
pub(crate) use lattice::{
    merge_in_a_table, merge_is_a_lattice, order_decides_nothing, whole_table,
};
use payloads::Payloads;
pub use violation::{Rule, Violation};

/// How much is checked. Except with [`Off`](Self::Off), events, datagrams and the own row of each
/// node are always checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Checking {
    /// Checks the whole table of a node after each of its inputs. For clusters of a few dozen
    /// nodes.
    Every,
    /// Checks the whole table of a node after each of its inputs in clusters of up to 32 nodes, and
    /// after every 64th input in larger ones.
    #[default]
    Sampled,
    /// Checks nothing, for the highest speed.
    Off,
}

impl Checking {
    /// The number of inputs of a node between two checks of its whole table; `None` for no checks.
    pub(crate) const fn period(self, nodes: usize) -> Option<u32> {
        match self {
            Self::Every => Some(1),
            Self::Sampled if nodes <= 32 => Some(1),
            Self::Sampled => Some(64),
            Self::Off => None,
        }
    }
}

/// A number for a node id; two processes with one id share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name(pub(crate) u32);

impl Name {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A row of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) generation: u64,
    pub(crate) status: Status,
    pub(crate) instance: Instance,
    pub(crate) address: Option<u32>,
}

/// The state of a member according to the events, and to its row when it was last seen.
#[derive(Clone, Copy, Debug)]
struct Shadow {
    generation: u64,
    status: Status,
    /// `None` until a row with this generation and status was seen.
    instance: Option<Instance>,
    address: Address,
    /// When the suspicion began, by the observer's clock; `None` unless the member is Suspected.
    suspected_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Address {
    /// The first event about the member declared it Dead, and does not contain the address.
    Unknown,
    Known(Option<u32>),
}

/// The cause of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Timer,
    /// The host published telemetry.
    Publication,
    /// A datagram or another command.
    Input,
}

/// The time and the observer of an observation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Location {
    pub(crate) at: Duration,
    pub(crate) observer: usize,
}

/// The number of violations that are kept; more are only counted.
const KEPT: usize = 64;

/// Checks one run.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    shadows: Vec<Vec<Option<Shadow>>>,
    /// By name: the highest generation at which the owner or its host claimed Alive.
    issued: Vec<u64>,
    payloads: Payloads,
    /// The shortest time in which a suspicion may become Dead.
    shortest_suspicion: Duration,
    /// By name: whether a process was restarted. Claims about an earlier instance may arrive late.
    restarted: Vec<bool>,
    /// Whether a node accepted an altered datagram. From then on tables may contain claims that no
    /// node made.
    altered_accepted: bool,
    /// By name: what liars have said of it.
    lies: Vec<Lies>,
    violations: Vec<Violation>,
    found: u64,
}

/// What liars have said of a member. A node cannot tell a lie from the truth before the member has
/// refuted it, so a claim that a liar made is not held against the nodes that believe it for the
/// moment. All else is: claims that neither the owner nor a liar made, about this member or any
/// other, and all other rules.
#[derive(Clone, Copy, Debug, Default)]
struct Lies {
    /// The highest generation of any claim.
    highest: Option<u64>,
    /// The highest generation at which a liar said Alive.
    alive: Option<u64>,
    /// Whether there was telemetry.
    telemetry: bool,
    /// Whether the member is made up, or is a liar itself. Its refutations are no concern.
    made_up: bool,
}

/// The most datagrams in reply to one: the answer, a refutation or an accusation that the sender
/// must hear at once, and the start of a session.
const MAX_REPLIES: usize = 3;

/// The highest generation of an accusation of a member about which no liar has spoken. The hosts of
/// a simulation start their nodes far below.
const MAX_ACCUSED_WITHOUT_LIES: u64 = (1 << 56) + (1 << 31);

/// The highest generation of an accusation that leaves room for a refutation: the highest one of
/// all is 2^63.
const MAX_ACCUSED_GENERATION: u64 = (1 << 63) - 1;

impl Checker {
    pub(crate) fn new(shortest_suspicion: Duration) -> Self {
        Self { shortest_suspicion, ..Self::default() }
    }

    pub(crate) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// The number of violations, kept or not.
    pub(crate) fn found(&self) -> u64 {
        self.found
    }

    pub(crate) fn report(&mut self, location: Location, rule: Rule, detail: String) {
        self.found += 1;
        if self.violations.len() < KEPT {
            self.violations.push(Violation {
                rule,
                at: location.at,
                node: location.observer,
                detail,
            });
        }
    }

    /// A process of this name was restarted.
    pub(crate) fn restarted(&mut self, name: Name) {
        if self.restarted.len() <= name.index() {
            self.restarted.resize(name.index() + 1, false);
        }
        self.restarted[name.index()] = true;
    }

    /// A process starts, with an empty table.
    pub(crate) fn started(&mut self, observer: usize) {
        if self.shadows.len() <= observer {
            self.shadows.resize_with(observer + 1, Vec::new);
        }
        self.shadows[observer].clear();
    }

    /// A process starts with a row of a saved table, which no event tells of.
    pub(crate) fn restored(&mut self, observer: usize, name: Name, row: Row) {
        let Row { generation, status, instance, address } = row;
        // The suspicion began before the state was saved.
        let suspected_at = (status == Status::Suspected).then_some(Instant::ORIGIN);
        let (instance, address) = (Some(instance), Address::Known(address));
        *self.shadow(observer, name) =
            Some(Shadow { generation, status, instance, address, suspected_at });
    }

    /// The owner of a name, or its host, claims Alive at a generation.
    pub(crate) fn issued(&mut self, name: Name, generation: u64) {
        if self.issued.len() <= name.index() {
            self.issued.resize(name.index() + 1, 0);
        }
        let highest = &mut self.issued[name.index()];
        *highest = generation.max(*highest);
    }

    fn highest_issued(&self, name: Name) -> u64 {
        let lied = self.lies(name).alive.unwrap_or(0);
        self.issued.get(name.index()).copied().unwrap_or(0).max(lied)
    }

    fn lies(&self, name: Name) -> Lies {
        self.lies.get(name.index()).copied().unwrap_or_default()
    }

    fn lies_mut(&mut self, name: Name) -> &mut Lies {
        if self.lies.len() <= name.index() {
            self.lies.resize(name.index() + 1, Lies::default());
        }
        &mut self.lies[name.index()]
    }

    /// A node is about to receive a claim of a liar about a member, at a generation. `alive` says
    /// whether it is a claim of Alive, and `is_node` whether a process has this name.
    pub(crate) fn lied(&mut self, name: Name, generation: u64, alive: bool, is_node: bool) {
        let lies = self.lies_mut(name);
        lies.highest = lies.highest.max(Some(generation));
        lies.alive = lies.alive.max(alive.then_some(generation));
        lies.made_up = !is_node;
    }

    /// The highest generation at which a member may be held Suspected, Dead or Left.
    ///
    /// Without lies no member comes near the end of the range. A liar may take it there, but no
    /// node may accuse a member further than one above what its owner or a liar has said.
    fn highest_accused(&self, name: Name) -> u64 {
        let said = match self.lies(name) {
            Lies { made_up: true, .. } => return u64::MAX,
            Lies { highest: Some(lied), .. } => lied.max(self.highest_issued(name)),
            Lies { highest: None, .. } => 0,
        };
        MAX_ACCUSED_WITHOUT_LIES.max(said.saturating_add(1)).min(MAX_ACCUSED_GENERATION)
    }

    /// A node is about to receive telemetry of a liar in the name of a member.
    pub(crate) fn lied_telemetry(&mut self, name: Name) {
        self.lies_mut(name).telemetry = true;
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

    /// Folds an event about another member into the view. `now` is the time by the node's clock.
    pub(crate) fn event(
        &mut self,
        location: Location,
        name: Name,
        event: &Event<u32>,
        cause: Cause,
        now: Instant,
    ) {
        let held = *self.shadow(location.observer, name);
        if cause == Cause::Publication && !matches!(event, Event::Telemetry { .. }) {
            self.report(location, Rule::S10, format!("{event:?} was caused by a publication"));
        }
        if cause == Cause::Timer && matches!(event, Event::Dead { .. }) {
            self.expired(location, name, held, now);
        }
        let (status, generation) = match *event {
            Event::Joined { address, generation, .. } => {
                if held.is_some() {
                    self.report(
                        location,
                        Rule::S18,
                        format!("{event:?}, but the member was known"),
                    );
                }
                let address = Address::Known(address);
                // This is not yet a claim of Alive: a member first heard of as Suspected joins at
                // the generation of the suspicion. Its row will tell.
                let joined = Shadow {
                    generation: generation.0,
                    status: Status::Alive,
                    instance: None,
                    address,
                    suspected_at: None,
                };
                *self.shadow(location.observer, name) = Some(joined);
                return;
            }
            Event::Alive { generation, .. } => (Status::Alive, generation.0),
            Event::Suspected { generation, .. } => (Status::Suspected, generation.0),
            Event::Dead { generation, .. } => (Status::Dead, generation.0),
            Event::Left { generation, .. } => (Status::Left, generation.0),
            Event::Moved { address, .. } => {
                match self.shadow(location.observer, name) {
                    Some(shadow) => {
                        *shadow = Shadow { address: Address::Known(address), ..*shadow }
                    }
                    None => self.report(
                        location,
                        Rule::S18,
                        format!("{event:?}, but the member was not known"),
                    ),
                }
                return;
            }
            Event::Removed { .. } => {
                if self.shadow(location.observer, name).take().is_none() {
                    self.report(
                        location,
                        Rule::S18,
                        format!("{event:?}, but the member was not known"),
                    );
                }
                return;
            }
            _ => return,
        };
        if held.is_none() && !matches!(status, Status::Dead | Status::Left) {
            self.report(location, Rule::S18, format!("{event:?} of a member that never joined"));
        }
        let address = held.map_or(Address::Unknown, |held| held.address);
        let suspected_at = (status == Status::Suspected).then_some(now);
        self.change(
            location,
            name,
            held,
            Shadow { generation, status, instance: None, address, suspected_at },
        );
    }

    /// A suspicion of a node ran out, and it declares the member Dead.
    fn expired(&mut self, location: Location, name: Name, held: Option<Shadow>, now: Instant) {
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
            self.report(location, Rule::S11, detail);
        }
    }

    /// Checks the row of another member in the table of `observer`; `None` if the table has none.
    pub(crate) fn row(&mut self, location: Location, name: Name, row: Option<Row>) {
        let held = *self.shadow(location.observer, name);
        let (Some(row), Some(shadow)) = (row, held) else {
            if row.is_some() || held.is_some() {
                let detail =
                    format!("about #{}: the table holds {row:?}, the events say {held:?}", name.0);
                self.report(location, Rule::S18, detail);
            }
            *self.shadow(location.observer, name) = row.map(|row| Shadow::seen(row, None));
            return;
        };
        let address_agrees = match shadow.address {
            Address::Unknown => true,
            Address::Known(address) => address == row.address,
        };
        if (row.generation, row.status) != (shadow.generation, shadow.status) || !address_agrees {
            let detail =
                format!("about #{}: the table holds {row:?}, the events say {shadow:?}", name.0);
            self.report(location, Rule::S18, detail);
        } else if shadow.instance.is_some_and(|instance| row.instance < instance) {
            let detail = format!(
                "about #{}: a tie went to the lower instance, from {shadow:?} to {row:?}",
                name.0
            );
            self.report(location, Rule::S1, detail);
        }
        self.change(location, name, held, Shadow::seen(row, shadow.suspected_at));
    }

    /// Checks the number of rows about other members in the table of `observer`, whose name is
    /// `own`.
    pub(crate) fn len(&mut self, location: Location, own: Name, len: usize) {
        let shadows = self.shadows.get(location.observer).map(Vec::as_slice).unwrap_or_default();
        let others =
            shadows.iter().enumerate().filter(|(name, row)| *name != own.index() && row.is_some());
        let folded = others.count();
        if folded != len {
            let detail = format!("the table holds {len} others, the events say {folded}");
            self.report(location, Rule::S18, detail);
        }
    }

    /// Checks a transition of a row, and stores its new state.
    fn change(&mut self, location: Location, name: Name, held: Option<Shadow>, new: Shadow) {
        let highest = self.highest_issued(name);
        let lies = self.lies(name);
        if new.status != Status::Alive && new.generation > self.highest_accused(name) {
            let detail = format!(
                "#{} is held {} at {}: too high to refute",
                name.0, new.status, new.generation
            );
            self.report(location, Rule::S5, detail);
        }
        if new.status == Status::Alive && new.generation > highest && !self.altered_accepted {
            let detail = format!(
                "#{} is held Alive at generation {}, but its owner never went above {highest}",
                name.0, new.generation
            );
            self.report(location, Rule::S4, detail);
        }
        if let Some(held) = held {
            let step = || {
                format!(
                    "#{} went from {} at {} to {} at {}",
                    name.0, held.status, held.generation, new.status, new.generation
                )
            };
            let was_gone = matches!(held.status, Status::Dead | Status::Left);
            if new.generation < held.generation {
                self.report(location, Rule::S3, step());
            } else if was_gone && new.status == Status::Alive && new.generation == held.generation {
                self.report(location, Rule::S7, step());
            } else if was_gone && new.status == Status::Suspected {
                // An accusation above a Left is valid only if it answers an Alive that the owner
                // claimed after leaving. Three cases cannot be told from that: an Alive of an
                // earlier instance, one from an altered datagram, and one from a liar.
                let uncertain = self.altered_accepted
                    || lies.highest.is_some()
                    || self.restarted.get(name.index()).is_some_and(|&restarted| restarted);
                let after = if held.status == Status::Left && !uncertain {
                    highest
                } else {
                    new.generation
                };
                if new.generation == held.generation || after <= held.generation {
                    self.report(location, Rule::S8, step());
                }
            }
        }
        *self.shadow(location.observer, name) = Some(new);
    }

    /// Checks the row that a node has about itself.
    pub(crate) fn own_row(&mut self, location: Location, name: Name, row: Row, active: bool) {
        if row.status == Status::Alive {
            self.issued(name, row.generation);
        }
        if active && matches!(row.status, Status::Dead | Status::Suspected) {
            self.report(
                location,
                Rule::S6,
                format!("it holds itself {} at {}", row.status, row.generation),
            );
        }
        match *self.shadow(location.observer, name) {
            Some(held) if row.generation < held.generation => {
                let detail = format!(
                    "its own generation fell from {} to {}",
                    held.generation, row.generation
                );
                self.report(location, Rule::S3, detail);
            }
            _ => {}
        }
        *self.shadow(location.observer, name) = Some(Shadow::seen(row, None));
    }

    /// A table contains a member that is neither a process nor introduced by a host.
    pub(crate) fn unknown_member(&mut self, location: Location, id: &str) {
        if !self.altered_accepted {
            self.report(location, Rule::S4, format!("{id:?} is the id of no process"));
        }
    }

    /// A node is about to receive an altered datagram. From now on any table may contain its false
    /// claims, so the origin of claims is no longer checked. All other rules are.
    pub(crate) fn accepted_altered(&mut self) {
        self.altered_accepted = true;
    }

    /// Checks an entry of a member's telemetry as a node reads it.
    pub(crate) fn payload(
        &mut self,
        location: Location,
        name: Name,
        instance: Instance,
        entry: &TelemetryEntry<'_>,
    ) {
        let forged = self.altered_accepted || self.lies(name).telemetry;
        if !forged && !self.payloads.agree(name, instance, entry) {
            let detail = format!(
                "{:?} of #{} at version {} has another value here",
                entry.key, name.0, entry.version
            );
            self.report(location, Rule::S9, detail);
        }
    }

    /// A seal opened a datagram that had been altered.
    pub(crate) fn opened_altered(&mut self, location: Location, len: usize) {
        self.report(location, Rule::Seal, format!("an altered datagram of {len} bytes was opened"));
    }

    /// A node refused an unaltered datagram of a peer.
    pub(crate) fn refused(&mut self, location: Location, error: WireError, len: usize) {
        self.report(location, Rule::Wire, format!("{error}: {len} bytes"));
    }

    /// A node was ticked at its deadline, and its next deadline has passed too.
    pub(crate) fn stuck(&mut self, location: Location, deadline: Instant, next: Instant) {
        self.report(
            location,
            Rule::S15,
            format!("after the tick at {deadline} the next deadline is {next}"),
        );
    }

    /// Checks the number of datagrams sent back to the source of `taken` ones.
    pub(crate) fn replies(&mut self, location: Location, kinds: &[Kind], taken: usize) {
        let count = kinds.len();
        if count > MAX_REPLIES * taken {
            let detail = format!("{count} datagrams in reply to {taken}: {kinds:?}");
            self.report(location, Rule::S17, detail);
        }
    }

    /// Checks the length of a datagram.
    pub(crate) fn datagram(&mut self, location: Location, len: usize, mtu: usize) {
        if len > mtu {
            self.report(
                location,
                Rule::S13,
                format!("a datagram of {len} bytes, the MTU is {mtu}"),
            );
        }
    }

    /// Checks the number of rows of a table.
    pub(crate) fn table_len(&mut self, location: Location, len: usize, limit: usize) {
        if len > limit {
            self.report(
                location,
                Rule::S14,
                format!("{len} members in a table of at most {limit}"),
            );
        }
    }

    /// Checks the size of a member's telemetry in bytes.
    pub(crate) fn telemetry_len(
        &mut self,
        location: Location,
        name: Name,
        len: usize,
        limit: usize,
    ) {
        if len > limit {
            let detail = format!("{len} bytes of telemetry of #{}, the limit is {limit}", name.0);
            self.report(location, Rule::S14, detail);
        }
    }
}

impl Shadow {
    /// The state that a row shows.
    fn seen(row: Row, suspected_at: Option<Instant>) -> Self {
        Self {
            generation: row.generation,
            status: row.status,
            instance: Some(row.instance),
            address: Address::Known(row.address),
            suspected_at: suspected_at.filter(|_| row.status == Status::Suspected),
        }
    }
}

#[cfg(test)]
mod tests;
