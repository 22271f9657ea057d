//! A broken rule.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::units::in_seconds;

/// The rules that are checked while a cluster runs.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Error,
)]
pub enum Rule {
    /// Merging is commutative, associative, idempotent and inflationary.
    #[error("S1: merging any claims in any order gives one result, which is the highest of them")]
    S1,
    /// What a table holds does not depend on how it came.
    #[error("S2: one set of records, in any order, with duplicates, gives one table")]
    S2,
    /// A row's generation never falls.
    #[error("S3: a row's generation never falls until it is pruned")]
    S3,
    /// Alive comes from the owner.
    #[error("S4: only the owner issues Alive at a higher generation")]
    S4,
    /// What is believed can be refuted.
    #[error("S5: a refutation always has room")]
    S5,
    /// Nobody alive holds itself Dead.
    #[error("S6: a running node never holds itself Suspected or Dead")]
    S6,
    /// Resurrection needs a higher generation.
    #[error("S7: Dead to Alive only at a strictly higher generation")]
    S7,
    /// The gone are not suspected.
    #[error("S8: never Dead to Suspected at one generation, never Left to Suspected")]
    S8,
    /// An entry has one value.
    #[error("S9: one payload per node, life and version in the whole cluster")]
    S9,
    /// Telemetry is no news of membership.
    #[error("S10: telemetry never changes status")]
    S10,
    /// Who is declared Dead had the time to refute.
    #[error("S11: Dead by timeout only from Suspected held for at least the minimum")]
    S11,
    /// Datagrams fit.
    #[error("S13: no datagram exceeds the MTU")]
    S13,
    /// Everything is bounded.
    #[error("S14: every structure is capped")]
    S14,
    /// Deadlines pass once.
    #[error("S15: the same past deadline is not returned twice")]
    S15,
    /// No amplification.
    #[error(
        "S17: at most one bounded reply a datagram, one for news and one to compare tables, to the socket's source"
    )]
    S17,
    /// Events tell everything.
    #[error("S18: folding the events gives the view")]
    S18,
    /// A seal protects.
    #[error("what was altered under way is not opened")]
    Seal,
    /// The node's own check of its structures.
    #[error("the node's own invariants hold")]
    Inner,
    /// Nodes understand each other.
    #[error("a datagram of a node is never refused by a peer")]
    Wire,
}

/// A rule that a run broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("[t={:.3}s] n{node}: {rule}: {detail}", at.as_secs_f64())]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// When, in virtual time.
    #[serde(rename = "at_s", with = "in_seconds")]
    pub at: Duration,
    /// At which node.
    pub node: usize,
    /// What was seen.
    pub detail: String,
}
