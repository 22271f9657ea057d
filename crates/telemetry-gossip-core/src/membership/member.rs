//! A member as the host sees it.

use core::marker::PhantomData;

use super::last_heard::HeardBefore;
use super::row::Row;
use super::slot::Slot;
use super::telemetry_log::TelemetryEntry;
use crate::address::Address;
use crate::id::{Generation, Instance};
use crate::status::Status;
use crate::time::Instant;

/// The record that a node holds of one member, borrowed from its table.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a, A> {
    pub(super) row: &'a Row,
    pub(super) slot: Slot,
    pub(super) heard_before: &'a HeardBefore,
    pub(super) address: PhantomData<A>,
}

impl<'a, A: Address> Member<'a, A> {
    /// Returns the id of the member.
    #[must_use]
    pub fn id(&self) -> &'a str {
        self.row.id()
    }

    /// Returns the address on which the member listens, if it is known.
    #[must_use]
    pub fn address(&self) -> Option<A> {
        self.row.address()
    }

    /// Returns the status that this node holds of the member.
    #[must_use]
    pub fn status(&self) -> Status {
        self.row.status
    }

    /// Returns the generation of that status.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.row.generation
    }

    /// Returns the instance of the member.
    #[must_use]
    pub fn instance(&self) -> Instance {
        self.row.instance
    }

    /// Whether the member has answered a number that was sent to its address, or this node's host
    /// says that it is a member.
    #[doc(hidden)]
    #[must_use]
    pub fn is_proved(&self) -> bool {
        self.row.answered.is_proof()
    }

    /// Returns the time at which the record last changed here, or a datagram last came from the
    /// member.
    #[must_use]
    pub fn last_observed(&self) -> Instant {
        self.row.observed()
    }

    /// Returns the time at which this node last heard from the member itself: a datagram came from
    /// its address, or an answer of it through a helper. `None` if there was none. What others say
    /// of the member does not count. For this node itself it is the last change of its record.
    #[must_use]
    pub fn last_heard(&self) -> Option<Instant> {
        self.heard_before.last_heard(self.slot, self.row)
    }

    /// Returns the version up to which the member's telemetry is known here; 0 before the first.
    #[must_use]
    pub fn telemetry_version(&self) -> u64 {
        self.row.telemetry_version()
    }

    /// Whether the values of the member's telemetry are held here. If not, because they exceed what
    /// this node holds of one member or of all, only
    /// [`telemetry_version`](Self::telemetry_version) is known, and
    /// [`telemetry`](Self::telemetry) is empty.
    #[must_use]
    pub fn telemetry_held(&self) -> bool {
        self.row.holds_telemetry()
    }

    /// Returns the member's telemetry in order of version, without the removed entries.
    pub fn telemetry(&self) -> impl Iterator<Item = TelemetryEntry<'a>> + use<'a, A> {
        self.row.entries().filter_map(|entry| entry.read())
    }

    /// Returns the keys that the member has removed, each with the version that removed it, in
    /// order of version. A removal is forgotten after a while, and when room is needed.
    pub fn removed(&self) -> impl Iterator<Item = (&'a str, u64)> + use<'a, A> {
        self.row.entries().filter_map(|entry| entry.removed())
    }

    /// Returns the entry of `key`, with its version and time of publication.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<TelemetryEntry<'a>> {
        self.telemetry().find(|entry| entry.key == key)
    }
}
