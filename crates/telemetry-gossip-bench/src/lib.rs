//! An arena for two membership libraries: one event heap, one virtual clock, one network, the same seeds.
//!
//! A [`Contender`] is one node of one library; [`Arena`] carries its datagrams and timers. No rule of either
//! protocol is in here.
#![forbid(unsafe_code)]

pub mod arena;
pub mod contenders;

pub use arena::{Arena, Contender, Out};
