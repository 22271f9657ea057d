//! Evidence for and against a member, and the explanation of its status.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{Generation, IdHash, NodeId};
use crate::status::Status;
use crate::time::Instant;

/// The most helpers that evidence names.
pub const MAX_HELPER_REPORTS: usize = 8;

/// A helper of a probe, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelperReport {
    /// Who was asked to ping the member.
    pub helper: IdHash,
    /// Whether it said that the member is silent to it, too; otherwise it was silent itself.
    pub nacked: bool,
}

/// The helpers of a probe, first those asked first; `None` after the last.
pub type HelperReports = [Option<HelperReport>; MAX_HELPER_REPORTS];

/// One thing that speaks for or against a member, as this node learned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Evidence {
    /// This node's probe got no answer, neither directly nor through the helpers.
    ProbeFailed {
        /// Whom it asked, and what they said.
        helpers: HelperReports,
    },
    /// This node's probe got no answer in time but through this helper.
    AnsweredThrough {
        /// The helper.
        helper: IdHash,
    },
    /// It has refuted before, so that it is pinged so many times more before this node accuses it.
    Recheck {
        /// How many pings.
        pings: u8,
    },
    /// It answered one of them.
    RecheckAnswered,
    /// This node did not accuse it, as it was itself out of touch with the others.
    NotAccused,
    /// It is suspected.
    Suspected {
        /// By whom first; this node itself, perhaps.
        by: Option<IdHash>,
        /// At which generation.
        generation: Generation,
    },
    /// Another member accuses it, too.
    Confirmed {
        /// Who.
        by: IdHash,
    },
    /// It refuted, or came back.
    Alive {
        /// At which generation.
        generation: Generation,
        /// What it was held to be before.
        was: Status,
    },
    /// It was declared dead.
    Dead {
        /// At which generation.
        generation: Generation,
        /// By this node; otherwise by another one.
        here: bool,
    },
    /// It left by its own word.
    Left {
        /// At which generation.
        generation: Generation,
    },
    /// Another life of it was met.
    Restarted,
    /// It listens at a new address.
    Moved,
}

impl Evidence {
    /// Whether it says all that the evidence just before it did: of what repeats on a bad link only
    /// the latest is kept.
    pub(crate) fn supersedes(&self, last: &Self) -> bool {
        matches!(
            (self, last),
            (Self::AnsweredThrough { .. }, Self::AnsweredThrough { .. })
                | (
                    Self::ProbeFailed { .. },
                    Self::ProbeFailed { .. } | Self::RecheckAnswered | Self::NotAccused
                )
                | (Self::RecheckAnswered, Self::Recheck { .. })
        )
    }

    /// What kind of evidence it is, in a word: that of its serialised form.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::ProbeFailed { .. } => "probe-failed",
            Self::AnsweredThrough { .. } => "answered-through",
            Self::Recheck { .. } => "recheck",
            Self::RecheckAnswered => "recheck-answered",
            Self::NotAccused => "not-accused",
            Self::Suspected { .. } => "suspected",
            Self::Confirmed { .. } => "confirmed",
            Self::Alive { .. } => "alive",
            Self::Dead { .. } => "dead",
            Self::Left { .. } => "left",
            Self::Restarted => "restarted",
            Self::Moved => "moved",
        }
    }

    /// What it says about the member, in words; `name` knows who is behind an id hash.
    pub fn describe<'n>(&self, name: impl Fn(IdHash) -> Option<&'n str>) -> String {
        let name = |id_hash| name(id_hash).unwrap_or("somebody unknown here");
        match *self {
            Self::ProbeFailed { helpers } => {
                let mut text = String::from("did not answer this node's probe");
                for (at, witness) in helpers.into_iter().flatten().enumerate() {
                    text.push_str(if at == 0 { "; asked through " } else { ", " });
                    text.push_str(name(witness.helper));
                    text.push_str(if witness.nacked {
                        " (silent to it, too)"
                    } else {
                        " (no word from it in time)"
                    });
                }
                text
            }
            Self::AnsweredThrough { helper } => {
                format!("did not answer directly but through {}", name(helper))
            }
            Self::Recheck { pings } => {
                format!("is on recheck, as it has refuted before: {pings} more pings")
            }
            Self::RecheckAnswered => "answered on recheck".into(),
            Self::NotAccused => "was not accused, as this node was itself out of touch".into(),
            Self::Suspected { by, generation } => {
                format!(
                    "was suspected by {} at generation {generation}",
                    by.map_or("somebody", name)
                )
            }
            Self::Confirmed { by } => format!("was accused by {}, too", name(by)),
            Self::Alive { generation, was } => {
                let verb = if was == Status::Suspected { "refuted" } else { "came back" };
                format!("{verb}: alive at generation {generation}")
            }
            Self::Dead { generation, here } => {
                let by = if here { "this node" } else { "another node" };
                format!("was declared dead by {by} at generation {generation}")
            }
            Self::Left { generation } => format!("left at generation {generation}"),
            Self::Restarted => "restarted: another life of it".into(),
            Self::Moved => "listens at a new address".into(),
        }
    }

    /// Those whom it names.
    pub fn id_hashes(&self) -> impl Iterator<Item = IdHash> {
        let (one, many) = match *self {
            Self::ProbeFailed { helpers } => (None, helpers),
            Self::AnsweredThrough { helper } => (Some(helper), HelperReports::default()),
            Self::Suspected { by, .. } => (by, HelperReports::default()),
            Self::Confirmed { by } => (Some(by), HelperReports::default()),
            _ => (None, HelperReports::default()),
        };
        one.into_iter().chain(many.into_iter().flatten().map(|witness| witness.helper))
    }
}

/// One entry of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Incident {
    /// When it became known here.
    pub at: Instant,
    /// What.
    pub evidence: Evidence,
}

/// A suspicion that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OpenSuspicion {
    /// Since when.
    pub since: Instant,
    /// When this node would declare the member dead. It does so only once a roll call has shown
    /// that it is in touch.
    pub until: Instant,
    /// Who accuses, as far as named.
    pub accusers: Vec<IdHash>,
}

/// Why a member is held to be what it is; see [`Node::explain`](crate::Node::explain). Its
/// `Display` says it in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The member.
    pub id: NodeId,
    /// What it is held to be.
    pub status: Status,
    /// At which generation.
    pub generation: Generation,
    /// The node's time now, to which the other times relate.
    pub now: Instant,
    /// When its record last changed, or a datagram last came from it.
    pub last_observed: Instant,
    /// The longest of its recent round trips, if this node has probed it.
    pub round_trip: Option<Duration>,
    /// How often it has refuted of late: with flaps it is pinged more often before it is accused
    /// again.
    pub flaps: u8,
    /// The suspicion that runs, if one does.
    pub suspicion: Option<OpenSuspicion>,
    /// Whether this node itself is out of touch with more than half of the members, and so declares
    /// nobody dead.
    pub isolated: bool,
    /// What happened, oldest first; at most 32 entries.
    pub history: Vec<Incident>,
    /// The names behind the id hashes of the above, as far as known here.
    pub names: Vec<(IdHash, NodeId)>,
}

impl Explanation {
    /// The name behind an id hash.
    #[must_use]
    pub fn name(&self, id_hash: IdHash) -> Option<&str> {
        self.names.iter().find(|(known, _)| *known == id_hash).map(|(_, id)| id.as_str())
    }

    /// The id hashes that need names.
    pub(crate) fn id_hashes(&self) -> impl Iterator<Item = IdHash> {
        let accusers =
            self.suspicion.iter().flat_map(|suspicion| suspicion.accusers.iter().copied());
        accusers.chain(self.history.iter().flat_map(|incident| incident.evidence.id_hashes()))
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ago = |at: Instant| self.now.since(at).as_secs_f64();
        let Self { id, status, generation, .. } = self;
        writeln!(
            f,
            "{id} is {status} at generation {generation}, last datagram from it or news of it {:.1} s ago",
            ago(self.last_observed)
        )?;
        if let Some(round_trip) = self.round_trip {
            writeln!(f, "  answered within {:.1} ms", round_trip.as_secs_f64() * 1e3)?;
        }
        if let Some(OpenSuspicion { until, accusers, .. }) = &self.suspicion {
            let left = until.since(self.now).as_secs_f64();
            write!(
                f,
                "  dead in {left:.1} s here, or sooner by another's verdict, unless it refutes; accused by"
            )?;
            for (at, &id_hash) in accusers.iter().enumerate() {
                let join = if at == 0 { " " } else { ", " };
                write!(f, "{join}{}", self.name(id_hash).unwrap_or("somebody unknown here"))?;
            }
            writeln!(f)?;
        }
        if self.isolated {
            writeln!(
                f,
                "  this node is cut off from more than half of the members and declares nobody dead"
            )?;
        }
        if self.flaps > 0 {
            let times = if self.flaps == 1 { "once" } else { "more than once" };
            writeln!(f, "  it has refuted or come back {times} in the last ten minutes")?;
        }
        if self.history.is_empty() {
            return f.write_str("  no incident is on record here");
        }
        for (at, incident) in self.history.iter().enumerate() {
            let end = if at == 0 { "" } else { "\n" };
            write!(f, "{end}  {:>8.1} s ago  ", ago(incident.at))?;
            f.write_str(&incident.evidence.describe(|id_hash| self.name(id_hash)))?;
        }
        Ok(())
    }
}
