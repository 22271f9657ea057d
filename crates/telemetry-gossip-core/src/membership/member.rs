//! A member as the host sees it.

use core::marker::PhantomData;

use super::row::Row;
use super::telemetry_log::TelemetryEntry;
use crate::address::Address;
use crate::id::{Generation, Instance};
use crate::status::Status;
use crate::time::Instant;

/// What a node holds of one member; borrowed from its table.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a, A> {
    pub(super) row: &'a Row,
    pub(super) address: PhantomData<A>,
}

impl<'a, A: Address> Member<'a, A> {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> &'a str {
        self.row.id()
    }

    /// Where it listens, if known.
    #[must_use]
    pub fn address(&self) -> Option<A> {
        self.row.address()
    }

    /// What it is held to be.
    #[must_use]
    pub fn status(&self) -> Status {
        self.row.status
    }

    /// At which generation.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.row.generation
    }

    /// Which life of it.
    #[must_use]
    pub fn instance(&self) -> Instance {
        self.row.instance
    }

    /// When its record last changed here, or a datagram last came from it.
    #[must_use]
    pub fn last_observed(&self) -> Instant {
        self.row.observed()
    }

    /// The version up to which its telemetry is known; 0 before the first.
    #[must_use]
    pub fn telemetry_version(&self) -> u64 {
        self.row.telemetry_version()
    }

    /// Its telemetry, removed entries aside, in order of version.
    pub fn telemetry(&self) -> impl Iterator<Item = TelemetryEntry<'a>> + use<'a, A> {
        self.row.entries().filter_map(|entry| entry.read())
    }

    /// The value under `key`, with its version and time of publication.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<TelemetryEntry<'a>> {
        self.telemetry().find(|entry| entry.key == key)
    }
}
