//! An arena for two membership libraries: one queue of events, one virtual clock, one network, the
//! same seeds.
//!
//! A [`Contender`] is one node of one library; [`Arena`] carries its datagrams and timers. No rule
//! of either protocol is in here.
#![forbid(unsafe_code)]

pub mod arena;
pub mod contenders;
mod queue;
pub mod replay;
pub mod stale;

pub use arena::{Arena, Contender, Counts, Out, Recorded, Setting};
