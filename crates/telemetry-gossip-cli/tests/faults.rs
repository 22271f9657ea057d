//! Real faults on real sockets: agents in network namespaces of their own, on a network that loses, cuts, delays and floods.
//!
//! ```sh
//! cargo test --release -p telemetry-gossip-cli --test faults -- --ignored --nocapture --test-threads=1
//! ```
//!
//! It takes some minutes, and prints a line a scenario. The network needs root (or `unshare --map-root-user`), `ip` and
//! `nft`; where one is missing, the tests say which and do nothing. Datagrams that come late go through a relay of the test,
//! which needs nothing.
//!
//! Bounds are those that the library states for its settings: `Config::predict` for a crash, those of the README for the
//! rest. The simulator has the same faults over many seeds; here are the sockets, the kernel and the clock that it has not.
#![cfg(target_os = "linux")]

mod common;
mod faults_support;
mod flood_support;

use std::time::{Duration, SystemTime};

use faults_support::fleet::{Fleet, Ground, name};
use faults_support::net::{Fault, Net, apart, processes_in};

#[test]
fn smoke() {
    let Some(net) = Net::or_skip(4) else { return };
    let begun = std::time::Instant::now();
    let mut fleet = Fleet::start(Ground::Net(net), 4, &["--profile", "local"]);
    println!("started {:?}", begun.elapsed());
    fleet.net().set(&apart(&[3], &[0, 1, 2]));
    let t = SystemTime::now();
    fleet.until([3], |_, mind| mind.isolated);
    fleet.until(0..3, |_, mind| mind.holds(3, "dead"));
    println!("cut {:?} {:?} lost {}", begun.elapsed(), t.elapsed(), fleet.net().lost());
    fleet.net().set(&[]);
    fleet.until_whole();
    println!("whole {:?} {:?}", begun.elapsed(), t.elapsed());
    fleet.end();
    println!("end {:?}", begun.elapsed());
}
