//! What hosts, names and networks really do: whole nodes with their drivers, on a network in memory
//! and in virtual time.
//!
//! - `islands`: parts of a cluster that were apart find each other by their seeds.
//! - `names`: names that lead nowhere, to this node alone, or to other addresses than before.
#![forbid(unsafe_code)]
#![deny(warnings)]

mod islands;
mod names;
mod support;
