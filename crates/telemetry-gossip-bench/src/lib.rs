//! An arena in which two membership libraries run on the same event queue, virtual clock, network
//! and seeds.
//!
//! A [`Contender`] is one node of one library. An [`Arena`] delivers its datagrams and timers. No
//! rule of either protocol is implemented here.
#![forbid(unsafe_code)]

pub mod arena;
pub mod contenders;
mod queue;
pub mod replay;
pub mod stale;

pub use arena::{Arena, Contender, Counts, Out, Recorded, Setting};
