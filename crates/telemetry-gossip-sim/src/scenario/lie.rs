//! The lies of a scenario.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Group, is_one, one};
use crate::liar::{LieKind, Plan};
use crate::setters::setters;
use crate::units::span;

/// A liar that acts from now on until the step `stop-lying`.
///
/// It is no node: it keeps to no rule, remembers what it heard and said, and works together with
/// the other liars of the run. In a sealed cluster a liar without the `key` can only repeat what it
/// has recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Lie {
    /// What the liar does.
    pub kind: LieKind,
    /// The nodes that it lies about, or whose id or address it uses.
    pub about: Group,
    /// The nodes to which it lies.
    pub to: Group,
    /// The mean time between two of its moves, at least 1 ms.
    #[serde(with = "span")]
    pub every: Duration,
    /// How much it does in a move: the most steps of a ladder, the members of a crowd, the
    /// datagrams of a recording. Of newcomers, how many answer at a time.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u16,
    /// Whether it also joins under an id of its own, answers, and lies as a member. In a sealed
    /// cluster this is the only way for new lies to be heard.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub member: bool,
    /// Whether it holds the key of a sealed cluster.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub key: bool,
}

impl Lie {
    /// A liar that moves once per `every`, is no member, and holds no key.
    #[must_use]
    pub const fn new(kind: LieKind, about: Group, to: Group, every: Duration) -> Self {
        Self { kind, about, to, every, count: 1, member: false, key: false }
    }

    /// The most ids of its own under which the liar answers at a time.
    pub(crate) fn answering(&self) -> usize {
        // Those that have fallen silent lately count, too, since they are not yet Dead.
        self.answered(Duration::from_secs(10))
    }

    /// The most ids of its own under which the liar has answered within a span.
    pub(super) fn answered(&self, within: Duration) -> usize {
        let silent = within.as_micros() / self.every.as_micros().max(1);
        let newcomers = usize::from(self.count) + usize::try_from(silent).unwrap_or(0);
        let newcomers = if self.kind == LieKind::Newcomers { newcomers } else { 0 };
        newcomers + usize::from(self.member || self.kind == LieKind::Partner)
    }

    /// The plan of the liar.
    pub(super) fn plan(&self) -> Plan {
        let Self { kind, every, count, member, key, .. } = *self;
        // A liar that moved without a pause would never let time pass.
        let every = every.max(Duration::from_millis(1));
        Plan { kind, every, count: count.into(), member, key }
    }
}

setters! {
    Lie {
        count: u16,
        member: bool,
        key: bool,
    }
}
