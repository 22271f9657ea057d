//! The registry of which nodes belong to a cluster.
//!
//! Gossip says which nodes are there now; the registry says which nodes belong. It is small (some
//! 100 bytes per node), changes when a machine is added or retired, and may be down for hours: the
//! nodes go on with the version that they have.
//!
//! ```text
//!   operator --edit--> Edition --> store: head, documents     file: | etcd: | memory
//!                                        |
//!                                        v  read, verify, guard, keep on disk
//!                                    follower --> apply to the node --> published as `tg.config`
//! ```
//!
//! - [`document`]: the list of members, its versions and their rules
//! - [`edit`]: how an operator changes it
//! - [`store`]: where it is kept
//! - [`follow`]: how a node follows it, as a state machine without IO
//! - [`cache`]: what a node keeps of it on its own disk
//! - `host`: the follower of a node that runs on tokio, with the feature `host`
//!
//! [`document`], [`edit`], [`guard`] and [`follow`] read no clock, do no IO and draw no randomness
//! except from a seed.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(warnings)]

pub mod cache;
pub mod document;
pub mod edit;
pub mod follow;
pub mod guard;
pub mod head;
#[cfg(feature = "host")]
pub mod host;
pub mod store;

pub use document::{
    ClusterId, ClusterIdError, Document, DocumentError, DocumentHash, DocumentHashError, Edition,
    Member, Removed,
};
pub use head::{Head, HeadError, Stamp};
#[cfg(feature = "etcd")]
pub use store::EtcdStore;
pub use store::{
    FileStore, FoundHead, Location, LocationError, MemoryStore, Store, StoreError, Write, Written,
};

/// Compiles and runs the example of the crate's README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
