//! A ping that brings eight updates which its receiver knows already: most of what a node hears
//! after a burst of news.

use std::time::Duration;

use foca::Timer;
use telemetry_gossip_core::Config;

use crate::arena::{Contender, Out};
use crate::contenders::{Ours, Theirs, lone, lone_foca, stub};

/// How many updates.
pub const UPDATES: u32 = 8;

/// Those who have news.
const NEWS: std::ops::Range<u32> = 2..2 + UPDATES;

/// Of this project: the receiver, and the ping of node 0 to it.
///
/// # Panics
/// If the sender does not tell all of it in one ping: the scene is wrong then.
#[must_use]
pub fn ours(nodes: u32, seed: u64) -> (Ours, Vec<u8>) {
    let mut out = Out::default();
    // Nobody answers here, so nobody is probed but by command.
    let config = Config::lan().probe_interval(Duration::from_secs(600));
    let mut sender = lone(0, nodes, seed, config.clone(), &mut out);
    let mut receiver = lone(1, nodes, seed, config, &mut out);
    for node in [&mut sender, &mut receiver] {
        // Until it has told all that it has to say of itself.
        node.tick_until(5_000_000);
    }
    let mut claims = 0;
    for other in NEWS {
        let mut member = stub(other, 2);
        member.introduce(0, 0);
        // It says of itself that it is at a higher generation.
        let hello = member.ping(0);
        claims += hello.len().saturating_sub(32);
        sender.datagram(sender.node.now().as_micros(), other, &hello, &mut out);
        receiver.introduce(other, 2);
    }
    let ping = sender.ping(1);
    assert!(
        claims > 0 && ping.len() > claims,
        "a ping of {} bytes brings no {claims} of news",
        ping.len()
    );
    (receiver, ping)
}

/// Of foca: the receiver, its sender, and the ping.
///
/// # Panics
/// If the sender probes nobody: the scene is wrong then.
#[must_use]
pub fn foca(nodes: u32, seed: u64) -> (Theirs, u32, Vec<u8>) {
    for seed in seed * 100..(seed + 1) * 100 {
        let mut out = Out::default();
        let mut sender = lone_foca(0, nodes, seed, 0, &mut out);
        sender.apply(0, NEWS, 1, true, &mut out);
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
            && to >= NEWS.end
            && to < nodes
        {
            let mut receiver = lone_foca(to, nodes, seed, 0, &mut out);
            receiver.apply(0, NEWS, 1, false, &mut out);
            assert!(
                ping.len() > 8 * UPDATES as usize,
                "a ping of {} bytes brings no news",
                ping.len()
            );
            return (receiver, 0, ping);
        }
    }
    panic!("no seed made the sender ping a member without news");
}
