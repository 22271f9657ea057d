//! The rules, and their violations.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::units::in_seconds;

/// A rule that is checked while a cluster runs.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Error,
)]
#[non_exhaustive]
pub enum Rule {
    /// Merging is commutative, associative, idempotent and inflationary.
    #[error("S1: merging any claims in any order gives one result, which is the highest of them")]
    S1,
    /// The contents of a table do not depend on the order of claims.
    #[error("S2: one set of records, in any order, with duplicates, gives one table")]
    S2,
    /// A row's generation never falls.
    #[error("S3: a row's generation never falls until it is pruned")]
    S3,
    /// Only the owner of a row issues Alive.
    #[error("S4: only the owner issues Alive at a higher generation")]
    S4,
    /// Every accusation that is accepted can be refuted.
    #[error("S5: a refutation always has room")]
    S5,
    /// A running node never accepts an accusation of itself.
    #[error("S6: a running node never holds itself Suspected or Dead")]
    S6,
    /// A dead member returns only at a higher generation.
    #[error("S7: Dead to Alive only at a strictly higher generation")]
    S7,
    /// Dead members and members that have left are not suspected.
    #[error("S8: never Dead to Suspected at one generation, never Left to Suspected")]
    S8,
    /// An entry of telemetry has one value.
    #[error("S9: one payload per node, instance and version in the whole cluster")]
    S9,
    /// Telemetry does not change membership.
    #[error("S10: telemetry never changes status")]
    S10,
    /// A member is declared Dead only after it has had time to refute.
    #[error("S11: a member is declared Dead only after it was Suspected for the minimum time")]
    S11,
    /// Datagrams fit the MTU.
    #[error("S13: no datagram exceeds the MTU")]
    S13,
    /// All memory is bounded.
    #[error("S14: every structure has an upper bound")]
    S14,
    /// A tick at a deadline moves the deadline.
    #[error("S15: a past deadline is not returned twice")]
    S15,
    /// A datagram has a bounded number of replies.
    #[error(
        "S17: at most three datagrams in reply to one (an answer, news, the start of a session), \
         all to its source address"
    )]
    S17,
    /// The events of a node account for its whole view.
    #[error("S18: folding the events gives the view")]
    S18,
    /// A seal refuses altered datagrams.
    #[error("a sealed datagram that was altered is not opened")]
    Seal,
    /// The structures of a node are consistent.
    #[error("the node's own invariants hold")]
    Inner,
    /// Nodes understand each other.
    #[error("a datagram of a node is never refused by a peer")]
    Wire,
}

/// A rule that a run broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("[t={:.3}s] n{node}: {rule}: {detail}", at.as_secs_f64())]
#[non_exhaustive]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The virtual time of the violation.
    #[serde(rename = "at_s", with = "in_seconds")]
    pub at: Duration,
    /// The node at which the rule was broken.
    pub node: usize,
    /// What was observed.
    pub detail: String,
}
