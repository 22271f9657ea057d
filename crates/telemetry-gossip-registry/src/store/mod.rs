//! Stores: where a registry is kept. A [`Store`] reads and replaces, and decides nothing; whether
//! what it says is believed is up to the [follower](crate::follow).
//!
//! | store | for |
//! |---|---|
//! | [`FileStore`] | a file that another tool distributes, or that is alone on its host |
//! | `EtcdStore` | real consensus, with the feature `etcd` |
//! | [`MemoryStore`] | tests and simulations |

#[cfg(feature = "etcd")]
mod etcd;
mod file;
mod location;
mod memory;
pub(crate) mod replace;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use thiserror::Error;

use crate::document::{DocumentError, Edition};
use crate::head::{Head, HeadError, Stamp};

#[cfg(feature = "etcd")]
pub use etcd::EtcdStore;
pub use file::FileStore;
pub use location::{Location, LocationError};
pub use memory::MemoryStore;

/// How many versions a store keeps, the newest included.
pub const KEPT_VERSIONS: u64 = 100;

/// What a store returns: a future that any thread may run.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A place that keeps a registry: one head, and the documents of the last versions.
///
/// Every call ends within some seconds, with [`StoreError::Unreachable`] if the store does not
/// answer.
pub trait Store: fmt::Debug + Send + Sync {
    /// Where the store is, without passwords.
    fn location(&self) -> String;

    /// How often a node looks for a new head, if nothing tells it to look earlier.
    fn poll_interval(&self) -> Duration;

    /// Whether a call keeps its thread waiting, as for a disk. The host then makes it on a thread
    /// of its own.
    fn is_blocking(&self) -> bool {
        false
    }

    /// Reads the head; `None` if the registry was never initialised, or is gone.
    fn head(&self) -> StoreFuture<'_, Option<FoundHead>>;

    /// Reads the document of a version, in as many parts as its head says; `None` if the store
    /// does not have it, or no longer.
    fn document(&self, version: u64, chunks: u32) -> StoreFuture<'_, Option<Vec<u8>>>;

    /// Writes a version: the document first, then the head, which is replaced in one step, and only
    /// if it is still the one that the writer has read.
    fn write<'a>(&'a self, write: &'a Write) -> StoreFuture<'a, Written>;

    /// The versions whose documents the store keeps, the oldest first.
    fn versions(&self) -> StoreFuture<'_, Vec<u64>>;
}

/// A head as a store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundHead {
    /// The head.
    pub head: Head,
    /// What tells this state of the head from every other, as the store counts them. A writer hands
    /// it back in [`Write::base`].
    pub revision: u64,
}

impl FoundHead {
    /// A head at this revision of the store.
    #[must_use]
    pub fn new(head: Head, revision: u64) -> Self {
        Self { head, revision }
    }
}

/// A version to be written.
#[derive(Clone, Debug)]
pub struct Write {
    head: Head,
    edition: Edition,
    base: Option<u64>,
}

impl Write {
    /// Writes `edition` in place of the head that was found; `None` if none was.
    #[must_use]
    pub fn new(edition: Edition, stamp: &Stamp, base: Option<&FoundHead>) -> Self {
        let head = Head::of(&edition, stamp);
        Self { head, edition, base: base.map(|found| found.revision) }
    }

    /// The head that is written.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The document that is written.
    #[must_use]
    pub fn edition(&self) -> &Edition {
        &self.edition
    }

    /// The revision of the head that is replaced; `None` if there must be none.
    #[must_use]
    pub fn base(&self) -> Option<u64> {
        self.base
    }
}

/// How a write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Written {
    /// The version is the newest now.
    Done,
    /// Another writer was first: nothing was changed.
    Conflict,
}

/// Why a store did not answer as asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store does not answer, or too late.
    #[error("the registry cannot be reached: {0}")]
    Unreachable(String),
    /// The store refuses this user, password or certificate, or this one may not do that.
    #[error("the registry refuses: {0}")]
    Refused(String),
    /// The head cannot be read.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The document cannot be read.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The store has something else in the place of a head or a document.
    #[error("the registry is damaged: {0}")]
    Damaged(String),
    /// A write failed, and changed nothing.
    #[error("the registry cannot be written: {0}")]
    Unwritable(String),
}
