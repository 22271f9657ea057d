//! A ping with eight updates that its receiver already knows, which is typical after a burst of
//! changes.

use std::time::Duration;

use foca::Timer;
use telemetry_gossip_core::Config;

use crate::arena::{Contender, Out};
use crate::contenders::{Ours, Theirs, lone, lone_foca, stub};

/// The number of updates.
pub const UPDATES: u32 = 8;

/// The members with updates.
const UPDATED: std::ops::Range<u32> = 2..2 + UPDATES;

/// Makes a receiver of this project, and the ping of node 0 to it.
///
/// # Panics
/// If the ping does not contain all updates.
#[must_use]
pub fn ours(nodes: u32, seed: u64) -> (Ours, Vec<u8>) {
    let mut out = Out::default();
    // No node answers here, so the nodes probe on command only.
    let config = Config::lan().probe_interval(Duration::from_secs(600));
    let mut sender = lone(0, nodes, seed, config.clone(), &mut out);
    let mut receiver = lone(1, nodes, seed, config, &mut out);
    for node in [&mut sender, &mut receiver] {
        // Until the rumors about itself have died down.
        node.tick_until(5_000_000);
    }
    let mut claims = 0;
    for other in UPDATED {
        let mut member = stub(other, 2);
        member.introduce(0, 0);
        // The ping announces the higher generation of its sender.
        let hello = member.ping(0);
        claims += hello.len().saturating_sub(32);
        sender.datagram(sender.node.now().as_micros(), other, &hello, &mut out);
        receiver.introduce(other, 2);
    }
    let ping = sender.ping(1);
    assert!(
        claims > 0 && ping.len() > claims,
        "a ping of {} bytes does not contain {claims} bytes of updates",
        ping.len()
    );
    (receiver, ping)
}

/// Makes a receiver of foca, the index of its sender, and the ping.
///
/// # Panics
/// If the sender pings no member that has no update itself.
#[must_use]
pub fn foca(nodes: u32, seed: u64) -> (Theirs, u32, Vec<u8>) {
    for seed in seed * 100..(seed + 1) * 100 {
        let mut out = Out::default();
        let mut sender = lone_foca(0, nodes, seed, 0, &mut out);
        sender.apply(0, UPDATED, 1, true, &mut out);
        out.drain_sends(|_, _| {});
        let timers: Vec<_> = out.drain_timers().collect();
        for (_, timer) in timers {
            if matches!(timer, Timer::ProbeRandomMember(_)) {
                sender.timer(0, timer, &mut out);
            }
        }
        let mut sent = Vec::new();
        out.drain_sends(|to, bytes| sent.push((to, bytes.to_vec())));
        if let Some((to, ping)) = sent.pop()
            && to >= UPDATED.end
            && to < nodes
        {
            let mut receiver = lone_foca(to, nodes, seed, 0, &mut out);
            receiver.apply(0, UPDATED, 1, false, &mut out);
            assert!(
                ping.len() > 8 * UPDATES as usize,
                "a ping of {} bytes contains no updates",
                ping.len()
            );
            return (receiver, 0, ping);
        }
    }
    panic!("no seed made the sender ping a member without an update");
}
