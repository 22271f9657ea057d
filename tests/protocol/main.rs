//! The protocol on simulated clusters: one module per subject, each with many seeds.
//!
//! - `reconciliation`, `concurrent_updates`: which of two claims wins, at every node.
//! - `suspicion`, `pause`, `isolation`, `explain`: suspicions, their refutation, and their reasons.
//! - `joining`, `first_news`, `leave`, `restart`, `identity`, `upgrade`, `small_clusters`: the life
//!   of a cluster.
//! - `sealing`: clusters with authenticated datagrams.
#![forbid(unsafe_code)]
#![deny(warnings)]

mod concurrent_updates;
mod explain;
mod first_news;
mod identity;
mod isolation;
mod joining;
mod leave;
mod pause;
mod reconciliation;
mod replay;
mod restart;
mod sealing;
mod small_clusters;
mod suspicion;
mod upgrade;
