//! The facade through its public API, on real sockets and in memory.
#![forbid(unsafe_code)]
#![deny(warnings)]

mod cancelled;
mod ends;
mod explain;
mod gossip;
mod handles;
mod node;
mod probe;
mod sharing;
mod support;
mod threads;
mod user_code;
