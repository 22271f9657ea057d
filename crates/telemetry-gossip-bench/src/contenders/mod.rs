//! The two libraries as contenders, with the settings that each recommends for a LAN: a probe
//! interval of 1 s.
//!
//! Nodes have socket addresses, and the means to return after a restart: an instance in this
//! project, and a changed identity in foca.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

mod few;
mod idle;
mod ours;
mod theirs;

pub use few::{Few, few};
pub use idle::idle;
pub use ours::{Ours, id, lone, ours, stub};
pub use theirs::{Peer, Theirs, foca, identity, lone_foca};

/// Returns the address of a node. It contains the index, so that no lookup is needed.
pub(crate) fn address(index: u32) -> SocketAddr {
    let [_, a, b, c] = index.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, a, b, c)), 7_946)
}

/// Returns the index of the node with an address.
pub(crate) fn index(address: SocketAddr) -> u32 {
    match address.ip() {
        IpAddr::V4(ip) => u32::from(ip) & 0x00ff_ffff,
        IpAddr::V6(_) => unreachable!("all addresses are IPv4"),
    }
}
