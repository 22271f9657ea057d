//! The protocol on simulated clusters: one module per subject, each with many seeds.
//!
//! - `reconciliation`, `concurrent_updates`: which of two claims wins, at every node.
//! - `long_split`: halves that were apart for long, and many names that are gone.
//! - `suspicion`, `pause`, `isolation`, `explain`: suspicions, their refutation, and their reasons.
//! - `joining`, `first_news`, `leave`, `restart`, `identity`, `upgrade`, `small_clusters`: the life
//!   of a cluster.
//! - `gone`: the records of members that crashed or left.
//! - `belonging`, `disagreement`: removed nodes, strangers and newcomers under a cluster config,
//!   and nodes that hold different ones.
//! - `registry`, `registry_storm`: fleets that follow a registry, whatever that does.
//! - `addresses`: hosts that send from elsewhere, and addresses that stop working.
//! - `sealing`: clusters with authenticated datagrams.
#![forbid(unsafe_code)]
#![deny(warnings)]

mod addresses;
mod belonging;
mod concurrent_updates;
mod disagreement;
mod explain;
mod first_news;
mod gone;
mod identity;
mod isolation;
mod joining;
mod leave;
mod long_split;
mod pause;
mod reconciliation;
mod registry;
mod registry_storm;
mod replay;
mod restart;
mod sealing;
mod small_clusters;
mod suspicion;
mod uneven;
mod upgrade;
