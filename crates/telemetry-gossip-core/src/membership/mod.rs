//! What this node knows about the members: the table, its rows, and the state that goes with a row.
//!
//! This folder stores and merges. It does not decide what follows from a change (the deadline of a
//! suspicion, a rumor, an event): that belongs to the parts of the protocol and to `node`.
//!
//! | file | holds |
//! |---|---|
//! | `claim` | a claim about a member, and which of two claims wins |
//! | `table` | the rows, and the one merge rule |
//! | `lookup`, `member` | how rows are found; a row as the host sees it |
//! | `row`, `slot` | one packed record; its place in the table |
//! | `range` | ranges of id hashes, in which two tables are compared |
//! | `roster` | the index of the rows, in the order of the id hashes |
//! | `side` | the members that answer while this node is isolated |
//! | `last_heard` | when each member itself was last heard from |
//! | `echoes` | claims that were received before, recognised by their bytes |
//! | `rtt` | an upper bound of a member's round-trip time |
//! | `telemetry` | how entries are taken in, and how much telemetry is held |
//! | `telemetry_log` | the packed telemetry of one member |
//! | `tombstone` | how long dead members and members that left are remembered |
//! | `rumors` | the queue of rows that changed and are still to be gossiped |
//! | `admission` | which nodes belong to the cluster, according to the registry |
//! | `knocks` | the other nodes that ask for something, as far as the host was told |
//! | `proof` | how a member is proved, and how much may be sent to an address before |
//! | `newcomers` | claims that wait until their member has answered |

pub(crate) mod admission;
pub(crate) mod claim;
mod echoes;
pub(crate) mod knocks;
mod last_heard;
mod lookup;
mod member;
pub(crate) mod newcomers;
pub(crate) mod proof;
mod range;
mod roster;
mod row;
pub(crate) mod rtt;
pub(crate) mod rumors;
mod side;
mod slot;
pub(crate) mod snapshot;
mod table;
mod telemetry;
pub(crate) mod telemetry_log;
#[cfg(test)]
mod tests;
pub(crate) mod tombstone;

pub use member::Member;
pub(crate) use range::{HashRange, PARTS};
pub(crate) use roster::{MAX_NAMESAKES, Place};
pub(crate) use row::Row;
pub(crate) use slot::{Slot, grow, serialize_maybe_free};
pub(crate) use table::{BUCKETS, Fingerprints, bucket_of, fold};
pub use table::{Membership, Merged};
