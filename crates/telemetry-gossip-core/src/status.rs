//! The status of a member.

use serde::{Deserialize, Serialize};

/// The status of a member, as a node holds it.
///
/// The variants stand in the order of their rank: of two claims at one generation the one with the
/// later variant wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Status {
    /// The member answers, or said itself that it is alive.
    Alive,
    /// A probe of the member failed, and the time in which it can refute is running.
    Suspected,
    /// The member did not refute in time: it crashed, or no member can reach it.
    Dead,
    /// The member said that it leaves.
    Left,
}

impl Status {
    /// Whether the status is Alive or Suspected. Live members are counted and probed, and receive
    /// rumors.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Alive | Self::Suspected)
    }

    /// Returns the rank of the status at one generation. It also stands for the status on the wire.
    pub(crate) const fn rank(self) -> u8 {
        self as u8
    }

    /// Returns the status of a rank.
    pub(crate) const fn from_rank(rank: u8) -> Option<Self> {
        match rank {
            0 => Some(Self::Alive),
            1 => Some(Self::Suspected),
            2 => Some(Self::Dead),
            3 => Some(Self::Left),
            _ => None,
        }
    }
}

impl core::fmt::Display for Status {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            Self::Alive => "alive",
            Self::Suspected => "suspected",
            Self::Dead => "dead",
            Self::Left => "left",
        })
    }
}
