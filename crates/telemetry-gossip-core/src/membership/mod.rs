//! What is known of the members: the table, the rows and claims in it, and what goes with a row.
//!
//! Nothing here decides what follows from a change: a suspicion's deadline, a rumor, an event.
//!
//! | file | holds |
//! |---|---|
//! | `claim` | what is said about a member, and which of two claims wins |
//! | `table`, `lookup`, `member` | the rows and the one merge rule; finding rows; a row as the host sees it |
//! | `row`, `slot`, `roster` | one packed record; its place; the index in the order of the id hashes |
//! | `echoes` | claims heard before, recognised by their bytes |
//! | `rtt` | a bound of a member's round-trip time |
//! | `telemetry_log` | the packed telemetry of one member |
//! | `tombstone` | until when the dead and the left are remembered |
//! | `rumors` | the rows that changed and are still to be told |
//! | `admission` | which nodes belong, by the registry's word |
//! | `proof` | how an address proves itself, and what one that has not is sent at most |

pub(crate) mod admission;
pub(crate) mod claim;
mod echoes;
mod lookup;
mod member;
pub(crate) mod proof;
mod roster;
mod row;
pub(crate) mod rtt;
pub(crate) mod rumors;
mod slot;
pub(crate) mod snapshot;
mod table;
pub(crate) mod telemetry_log;
#[cfg(test)]
mod tests;
pub(crate) mod tombstone;

pub use member::Member;
pub(crate) use row::Row;
pub(crate) use slot::{Slot, grow};
pub(crate) use table::{BUCKETS, Fingerprints, bucket_of, fold};
pub use table::{Membership, Merged};
