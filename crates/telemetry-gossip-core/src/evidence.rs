//! The types of evidence for and against a member, and the explanation of its status.
//!
//! Evidence is found and kept by the detector; here is only its shape and its text.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{Generation, IdHash, NodeId};
use crate::status::Status;
use crate::time::Instant;

/// The most helpers that a piece of evidence names.
pub const MAX_HELPER_REPORTS: usize = 8;

/// A helper of a failed probe, and what it reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelperReport {
    /// The member that was asked to ping the target.
    pub helper: IdHash,
    /// Whether the helper reported that the target did not answer it. Otherwise the helper itself
    /// did not answer.
    pub nacked: bool,
}

/// The helpers of a probe in the order in which they were asked; `None` after the last.
pub type HelperReports = [Option<HelperReport>; MAX_HELPER_REPORTS];

/// A piece of evidence for or against a member, as this node learned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Evidence {
    /// This node's probe got no answer, neither directly nor through the helpers.
    ProbeFailed {
        /// The helpers that this node asked, and their reports.
        helpers: HelperReports,
    },
    /// This node's probe was answered in time only through this helper.
    AnsweredThrough {
        /// The helper.
        helper: IdHash,
    },
    /// The member has refuted before, so this node pings it more often before it accuses it.
    Recheck {
        /// The number of further pings.
        pings: u8,
    },
    /// The member answered one of the pings of a recheck.
    RecheckAnswered,
    /// This node did not accuse the member, because this node was itself out of touch with the
    /// others.
    NotAccused,
    /// The member is suspected.
    Suspected {
        /// The first accuser, if it is named. It may be this node.
        by: Option<IdHash>,
        /// The generation of the suspicion.
        generation: Generation,
    },
    /// Another member accuses the member, too.
    Confirmed {
        /// The further accuser.
        by: IdHash,
    },
    /// The member refuted, or came back.
    Alive {
        /// Its generation from then on.
        generation: Generation,
        /// Its status before.
        was: Status,
    },
    /// The member was declared dead.
    Dead {
        /// The generation of the claim.
        generation: Generation,
        /// Whether this node declared it dead. Otherwise another node did.
        here: bool,
    },
    /// The member said that it leaves.
    Left {
        /// The generation of the claim.
        generation: Generation,
    },
    /// The member restarted: another instance of it was found.
    Restarted,
    /// The member listens at a new address.
    Moved,
    /// The node that explains itself was told that another holds it suspected, dead or left.
    Accused {
        /// The first accuser, if it is named.
        by: Option<IdHash>,
        /// What was said of this node.
        status: Status,
        /// The generation of the claim.
        generation: Generation,
    },
    /// The node that explains itself answered an accusation, or what is remembered of an earlier
    /// instance of it.
    Refuted {
        /// Its generation from then on.
        generation: Generation,
    },
    /// The node that explains itself was paused: its host called it this much later than it had
    /// asked for, as the process or the machine was stopped.
    Paused {
        /// How much later, which is about how long the pause was.
        late: Duration,
    },
}

impl Evidence {
    /// Whether this evidence replaces the evidence just before it. Of the evidence that repeats on
    /// a bad link only the latest is kept.
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

    /// Returns the name of this kind of evidence, as in its serialised form.
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
            Self::Accused { .. } => "accused",
            Self::Refuted { .. } => "refuted",
            Self::Paused { .. } => "paused",
        }
    }

    /// Describes the evidence in words, as a sentence whose subject is the member. `name` returns
    /// the id behind an id hash, if it is known.
    pub fn describe<'n>(&self, name: impl Fn(IdHash) -> Option<&'n str>) -> String {
        let name = |id_hash| name(id_hash).unwrap_or(UNKNOWN);
        match *self {
            Self::ProbeFailed { helpers } => {
                let mut text = String::from("did not answer this node's probe");
                for (at, report) in helpers.into_iter().flatten().enumerate() {
                    text.push_str(if at == 0 { "; asked through " } else { ", " });
                    text.push_str(name(report.helper));
                    text.push_str(if report.nacked {
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
                format!("refuted before, so that it is accused only after {pings} more pings")
            }
            Self::RecheckAnswered => {
                "answered one of these pings, so that it was not accused".into()
            }
            Self::NotAccused => "was not accused, as this node was itself out of touch".into(),
            Self::Suspected { by, generation } => {
                format!(
                    "was suspected by {} at generation {generation}",
                    by.map_or("an unnamed member", name)
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
            Self::Restarted => "restarted: another instance of it".into(),
            Self::Moved => "listens at a new address".into(),
            Self::Accused { by, status, generation } => {
                format!(
                    "was called {status} at generation {generation} by {}",
                    by.map_or("an unnamed member", name)
                )
            }
            Self::Refuted { generation } => {
                format!("answered with a higher generation: alive at generation {generation}")
            }
            Self::Paused { late } => format!(
                "was paused for {:.1} s: its process or its machine was stopped, or had no time \
                 for it",
                late.as_secs_f64()
            ),
        }
    }

    /// Returns the id hashes of the members that the evidence names.
    pub fn id_hashes(&self) -> impl Iterator<Item = IdHash> {
        let (one, many) = match *self {
            Self::ProbeFailed { helpers } => (None, helpers),
            Self::AnsweredThrough { helper } => (Some(helper), HelperReports::default()),
            Self::Suspected { by, .. } | Self::Accused { by, .. } => (by, HelperReports::default()),
            Self::Confirmed { by } => (Some(by), HelperReports::default()),
            _ => (None, HelperReports::default()),
        };
        one.into_iter().chain(many.into_iter().flatten().map(|report| report.helper))
    }
}

/// The text for a member whose id is not known here.
const UNKNOWN: &str = "an unknown member";

/// One entry of the history of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Incident {
    /// The time at which this node learned of it.
    pub at: Instant,
    /// What this node learned.
    pub evidence: Evidence,
}

/// A suspicion that is not decided yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OpenSuspicion {
    /// The time at which it began here.
    pub since: Instant,
    /// The time at which this node would declare the member dead. It does so only once a roll call
    /// has shown that it is in touch.
    pub until: Instant,
    /// The accusers that are known by their id hashes.
    pub accusers: Vec<IdHash>,
}

/// The reasons for the status of a member; see [`Node::explain`](crate::Node::explain). Its
/// `Display` puts them into words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The id of the member.
    pub id: NodeId,
    /// Whether the member is the very node that explains. It tells who accused it, when it
    /// answered, and how long it was paused.
    pub itself: bool,
    /// The status that this node holds of it.
    pub status: Status,
    /// The generation of that status.
    pub generation: Generation,
    /// The node's present time, to which the other times relate.
    pub now: Instant,
    /// The time at which the record last changed, or a datagram last came from the member.
    pub last_observed: Instant,
    /// The time at which this node last heard from the member itself; `None` if it never has. See
    /// [`Member::last_heard`](crate::Member::last_heard).
    pub last_heard: Option<Instant>,
    /// The longest of its recent round trips, if this node has probed it.
    pub round_trip: Option<Duration>,
    /// The number of its recent flaps (refutations). A member with flaps is pinged more often
    /// before it is accused again.
    pub flaps: u8,
    /// The open suspicion, if there is one.
    pub suspicion: Option<OpenSuspicion>,
    /// Whether this node itself is out of touch with more than half of the members, so that it
    /// declares no member dead.
    pub isolated: bool,
    /// The incidents that this node has on record, oldest first; at most 32.
    pub history: Vec<Incident>,
    /// The ids behind the id hashes in this explanation, as far as they are known here.
    pub names: Vec<(IdHash, NodeId)>,
}

impl Explanation {
    /// Returns the id behind an id hash, if it is known.
    #[must_use]
    pub fn name(&self, id_hash: IdHash) -> Option<&str> {
        self.names.iter().find(|(known, _)| *known == id_hash).map(|(_, id)| id.as_str())
    }

    /// Returns the id hashes of all members that the explanation names.
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
        write!(f, "{id} is {status} at generation {generation}; ")?;
        match self.last_heard {
            _ if self.itself => writeln!(f, "it is this node itself")?,
            Some(at) => writeln!(f, "this node last heard from it {:.1} s ago", ago(at))?,
            None => writeln!(f, "this node has never heard from it")?,
        }
        if let Some(round_trip) = self.round_trip {
            writeln!(f, "  answered within {:.1} ms", round_trip.as_secs_f64() * 1e3)?;
        }
        if let Some(OpenSuspicion { until, accusers, .. }) = &self.suspicion {
            let left = until.since(self.now).as_secs_f64();
            write!(
                f,
                "  will be declared dead here in {left:.1} s, or sooner by another member, \
                 unless it refutes; accused by"
            )?;
            for (at, &id_hash) in accusers.iter().enumerate() {
                let join = if at == 0 { " " } else { ", " };
                write!(f, "{join}{}", self.name(id_hash).unwrap_or(UNKNOWN))?;
            }
            writeln!(f)?;
        }
        if self.isolated {
            writeln!(
                f,
                "  this node cannot reach more than half of the members and declares no member dead"
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
