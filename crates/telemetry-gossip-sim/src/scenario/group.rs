//! Groups of nodes, written so that they fit clusters of every size.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::process::Condition;
use crate::simulation::Simulation;
use crate::units::Share;

/// A group of nodes: one or more terms, separated by commas.
///
/// | term | nodes |
/// |---|---|
/// | `7` | n7 |
/// | `0..7` | n0 to n6 |
/// | `first 70%`, `last 30%` | this share of the nodes, by index |
/// | `random 3`, `random 10%` | this many of the running nodes, drawn from the seed |
/// | `running`, `paused`, `blocked`, `down` | all nodes in this condition at the moment |
/// | `all` | all nodes |
///
/// ```
/// use telemetry_gossip_sim::Group;
///
/// let group: Group = "0..7, 9".parse()?;
/// assert_eq!(group.to_string(), "0..7, 9");
/// assert!("some of them".parse::<Group>().is_err());
/// # Ok::<(), telemetry_gossip_sim::GroupError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Group(Vec<Term>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    One(usize),
    Range(Range<usize>),
    First(Share),
    Last(Share),
    Random(Amount),
    Being(Condition),
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Amount {
    Count(usize),
    Share(Share),
}

impl Group {
    /// The indices of the group's nodes at the moment, ascending and without duplicates. Only
    /// `random` draws random numbers.
    pub(crate) fn of(&self, simulation: &mut Simulation) -> Vec<usize> {
        let len = simulation.len();
        let mut nodes = Vec::new();
        for term in &self.0 {
            match term {
                Term::One(index) => nodes.push(*index),
                Term::Range(range) => nodes.extend(range.clone()),
                Term::First(share) => nodes.extend(0..share.of(len)),
                Term::Last(share) => nodes.extend(len - share.of(len)..len),
                Term::Random(amount) => {
                    let candidates: Vec<usize> = simulation
                        .taking_part()
                        .filter(|&index| simulation.condition(index) == Some(Condition::Running))
                        .collect();
                    let count = match amount {
                        Amount::Count(count) => *count,
                        Amount::Share(share) => share.of(candidates.len()),
                    };
                    nodes.extend(simulation.pick(&candidates, count));
                }
                Term::Being(condition) => {
                    nodes.extend(
                        (0..len).filter(|&index| simulation.condition(index) == Some(*condition)),
                    );
                }
                Term::All => nodes.extend(0..len),
            }
        }
        nodes.retain(|&index| index < len);
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// The group that is the same share of `to` nodes as this one is of `from` nodes. A single node
    /// stays a single node.
    pub(crate) fn scaled(&self, from: usize, to: usize) -> Self {
        let place = |index: usize| (index * to).checked_div(from).unwrap_or(index);
        let term = |term: &Term| match term {
            Term::One(index) => Term::One(place(*index)),
            Term::Range(range) => {
                let (start, end) = (place(range.start), place(range.end));
                Term::Range(start..if range.is_empty() { end } else { end.max(start + 1) })
            }
            Term::Random(Amount::Count(count)) => {
                Term::Random(Amount::Count(place(*count).max(1).min(*count)))
            }
            other => other.clone(),
        };
        Self(self.0.iter().map(term).collect())
    }

    /// Smaller groups: without one of the terms, with half of a range, with one node of several.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let mut out = Vec::new();
        for (at, term) in self.0.iter().enumerate() {
            let mut with = |terms: &[Term]| {
                let groups = [&self.0[..at], terms, &self.0[at + 1..]].concat();
                out.extend((!groups.is_empty()).then_some(Self(groups)));
            };
            with(&[]);
            match term {
                Term::Range(range) if range.len() > 1 => {
                    let middle = range.start + range.len() / 2;
                    with(&[Term::One(range.start)]);
                    with(&[Term::Range(range.start..middle)]);
                    with(&[Term::Range(middle..range.end)]);
                    with(&[Term::Range(range.start + 1..range.end)]);
                    with(&[Term::Range(range.start..range.end - 1)]);
                }
                Term::Range(range) if range.len() == 1 => with(&[Term::One(range.start)]),
                Term::Random(Amount::Count(count @ 2..)) => {
                    with(&[Term::Random(Amount::Count(1))]);
                    with(&[Term::Random(Amount::Count(count / 2))]);
                    with(&[Term::Random(Amount::Count(count - 1))]);
                }
                Term::Random(Amount::Share(_)) => with(&[Term::Random(Amount::Count(1))]),
                _ => {}
            }
        }
        out
    }
}

impl FromStr for Group {
    type Err = GroupError;

    fn from_str(text: &str) -> Result<Self, GroupError> {
        let term = |part: &str| {
            parse_term(part.trim()).ok_or_else(|| GroupError { term: part.trim().to_owned() })
        };
        text.split(',').map(term).collect::<Result<_, _>>().map(Self)
    }
}

fn parse_term(text: &str) -> Option<Term> {
    match text {
        "all" => return Some(Term::All),
        "running" => return Some(Term::Being(Condition::Running)),
        "paused" => return Some(Term::Being(Condition::Paused)),
        "blocked" => return Some(Term::Being(Condition::Blocked)),
        "down" => return Some(Term::Being(Condition::Down)),
        _ => {}
    }
    if let Some((word, amount)) = text.split_once(' ') {
        return match word {
            "first" => amount.parse().ok().map(Term::First),
            "last" => amount.parse().ok().map(Term::Last),
            "random" => {
                let count = amount.parse().map(Amount::Count).ok();
                count.or_else(|| amount.parse().map(Amount::Share).ok()).map(Term::Random)
            }
            _ => None,
        };
    }
    match text.split_once("..") {
        Some((from, to)) => Some(Term::Range(from.parse().ok()?..to.parse().ok()?)),
        None => text.parse().ok().map(Term::One),
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, term) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            f.write_str(comma)?;
            match term {
                Term::One(index) => write!(f, "{index}"),
                Term::Range(range) => write!(f, "{}..{}", range.start, range.end),
                Term::First(share) => write!(f, "first {share}"),
                Term::Last(share) => write!(f, "last {share}"),
                Term::Random(Amount::Count(count)) => write!(f, "random {count}"),
                Term::Random(Amount::Share(share)) => write!(f, "random {share}"),
                Term::Being(Condition::Running) => f.write_str("running"),
                Term::Being(Condition::Paused) => f.write_str("paused"),
                Term::Being(Condition::Blocked) => f.write_str("blocked"),
                Term::Being(Condition::Down) => f.write_str("down"),
                Term::All => f.write_str("all"),
            }?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Group {
    type Error = GroupError;

    fn try_from(text: String) -> Result<Self, GroupError> {
        text.parse()
    }
}

impl From<Group> for String {
    fn from(group: Group) -> Self {
        group.to_string()
    }
}

/// A text does not name a [`Group`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{term}` names no nodes: write 7, 0..7, first 70%, last 30%, random 3, random 10%, running, \
     paused, blocked, down or all"
)]
pub struct GroupError {
    term: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_survives_being_written_and_read() {
        for text in [
            "7",
            "0..7, 9",
            "first 70%",
            "last 0.5%",
            "random 3",
            "random 10%",
            "running, paused, blocked",
            "down, all",
        ] {
            assert_eq!(text.parse::<Group>().unwrap().to_string(), text);
        }
        for text in ["", "n7", "..", "first 3", "every 2", "7;8"] {
            assert!(text.parse::<Group>().is_err(), "{text}");
        }
    }

    #[test]
    fn scaling_a_group_keeps_its_share_of_the_cluster() {
        for (text, scaled) in [
            ("0..9", "0..4"),
            ("9..20", "4..10"),
            ("19", "9"),
            ("0..1, 3", "0..1, 1"),
            ("random 5", "random 2"),
            ("random 1, first 70%, down", "random 1, first 70%, down"),
        ] {
            assert_eq!(text.parse::<Group>().unwrap().scaled(20, 10).to_string(), scaled);
        }
    }

    #[test]
    fn smaller_groups_are_valid_groups() {
        for (text, smaller) in [
            ("7", &[][..]),
            ("all", &[]),
            ("1, down", &["down", "1"]),
            ("3..6", &["3", "3..4", "4..6", "4..6", "3..5"]),
            ("random 4", &["random 1", "random 2", "random 3"]),
            ("random 20%", &["random 1"]),
        ] {
            let group: Group = text.parse().unwrap();
            assert_eq!(
                group.smaller().iter().map(Group::to_string).collect::<Vec<_>>(),
                smaller,
                "{text}"
            );
        }
    }
}
