//! What a member is held to be.

use serde::{Deserialize, Serialize};

/// What a member is held to be. The order is the rank at one generation: the later variant wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Status {
    /// It answers, or said so itself.
    Alive,
    /// A probe failed; it has some time to refute.
    Suspected,
    /// It did not refute in time: it crashed, or nobody can reach it.
    Dead,
    /// It said that it leaves.
    Left,
}

impl Status {
    /// Alive or Suspected: still counted, probed and told the news.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Alive | Self::Suspected)
    }

    pub(crate) const fn rank(self) -> u8 {
        self as u8
    }

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
