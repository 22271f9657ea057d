//! Watches a run and says which rule broke, where and when.
//!
//! The checker keeps, for every observer, the view that folding its events gives: a second table, made by other
//! code than the table it checks. It is told events, rows and datagrams, and never looks at a node, so a test can
//! tell it what no correct node would do and see it caught.
//!
//! Rows are checked as events name them, which costs little; whole tables are compared from time to time (see
//! [`Checking`]), so that a change without an event is caught too.

mod lattice;
mod violation;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{Event, Instance, Status};

pub(crate) use lattice::{merge_in_a_table, merge_is_a_lattice};
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Address {
    /// First heard of as Dead: events do not tell.
    Untold,
    Told(Option<u32>),
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
    violations: Vec<Violation>,
    found: u64,
}

impl Checker {
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

    /// Folds an event about another member.
    pub(crate) fn event(&mut self, spot: Spot, name: Name, event: &Event<u32>) {
        let held = *self.shadow(spot.observer, name);
        let (status, generation) = match *event {
            Event::Joined { address, generation, .. } => {
                if held.is_some() {
                    self.report(spot, Rule::S18, format!("{event:?}, but it was known"));
                }
                let address = Address::Told(address);
                // No word of Alive yet: whoever is first heard of as Suspected joins at that generation. The row tells.
                let joined =
                    Shadow { generation: generation.0, status: Status::Alive, instance: None, address };
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
                    None => {
                        self.report(spot, Rule::S18, format!("{event:?}, but nobody of that name is known"))
                    }
                }
                return;
            }
            Event::Removed { .. } => {
                if self.shadow(spot.observer, name).take().is_none() {
                    self.report(spot, Rule::S18, format!("{event:?}, but nobody of that name is known"));
                }
                return;
            }
            _ => return,
        };
        if held.is_none() && !matches!(status, Status::Dead | Status::Left) {
            self.report(spot, Rule::S18, format!("{event:?} of a member that never joined"));
        }
        let address = held.map_or(Address::Untold, |held| held.address);
        self.change(spot, name, held, Shadow { generation, status, instance: None, address });
    }

    /// The table of `observer` holds this of another member, or nothing.
    pub(crate) fn row(&mut self, spot: Spot, name: Name, row: Option<Row>) {
        let held = *self.shadow(spot.observer, name);
        let (Some(row), Some(shadow)) = (row, held) else {
            if row.is_some() || held.is_some() {
                let detail = format!("of #{}: the table holds {row:?}, the events say {held:?}", name.0);
                self.report(spot, Rule::S18, detail);
            }
            *self.shadow(spot.observer, name) = row.map(Shadow::seen);
            return;
        };
        let told = match shadow.address {
            Address::Untold => true,
            Address::Told(address) => address == row.address,
        };
        if (row.generation, row.status) != (shadow.generation, shadow.status) || !told {
            let detail = format!("of #{}: the table holds {row:?}, the events say {shadow:?}", name.0);
            self.report(spot, Rule::S18, detail);
        } else if shadow.instance.is_some_and(|instance| row.instance < instance) {
            let detail =
                format!("of #{}: a tie went to the lower instance, from {shadow:?} to {row:?}", name.0);
            self.report(spot, Rule::S1, detail);
        }
        self.change(spot, name, held, Shadow::seen(row));
    }

    /// The table of `observer`, whose name is `own`, has this many rows about others.
    pub(crate) fn len(&mut self, spot: Spot, own: Name, len: usize) {
        let shadows = self.shadows.get(spot.observer).map(Vec::as_slice).unwrap_or_default();
        let others = shadows.iter().enumerate().filter(|(name, row)| *name != own.index() && row.is_some());
        let folded = others.count();
        if folded != len {
            let detail = format!("the table holds {len} others, the events say {folded}");
            self.report(spot, Rule::S18, detail);
        }
    }

    fn change(&mut self, spot: Spot, name: Name, held: Option<Shadow>, new: Shadow) {
        let highest = self.highest_issued(name);
        if new.status == Status::Alive && new.generation > highest {
            let detail = format!(
                "#{} is held Alive at generation {}, its owner never went above {highest}",
                name.0, new.generation
            );
            self.report(spot, Rule::S4, detail);
        }
        if let Some(held) = held {
            let step = format_args!(
                "#{} went from {} at {} to {} at {}",
                name.0, held.status, held.generation, new.status, new.generation
            );
            let gone = matches!(held.status, Status::Dead | Status::Left);
            if new.generation < held.generation {
                self.report(spot, Rule::S3, step.to_string());
            } else if gone && new.status == Status::Alive && new.generation == held.generation {
                self.report(spot, Rule::S7, step.to_string());
            } else if gone && new.status == Status::Suspected {
                // Above a Left, an accusation stands only on an Alive that the owner said after leaving.
                let after = if held.status == Status::Left { highest } else { new.generation };
                if new.generation == held.generation || after <= held.generation {
                    self.report(spot, Rule::S8, step.to_string());
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
            self.report(spot, Rule::S6, format!("it holds itself {} at {}", row.status, row.generation));
        }
        match *self.shadow(spot.observer, name) {
            Some(held) if row.generation < held.generation => {
                let detail =
                    format!("its own generation fell from {} to {}", held.generation, row.generation);
                self.report(spot, Rule::S3, detail);
            }
            _ => {}
        }
        *self.shadow(spot.observer, name) = Some(Shadow::seen(row));
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
    const fn seen(row: Row) -> Self {
        Self {
            generation: row.generation,
            status: row.status,
            instance: Some(row.instance),
            address: Address::Told(row.address),
        }
    }
}

#[cfg(test)]
mod tests;
