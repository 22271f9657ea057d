//! Nodes without a library: pings and acks of 25 bytes, and timers. They measure the cost of the
//! arena itself.

use crate::arena::{Arena, Contender, Out, Setting, VALUE};

const PING: [u8; 25] = [1; 25];
const ACK: [u8; 25] = [2; 25];
const SECOND: u64 = 1_000_000;

/// A node that only sends pings and acks.
#[derive(Debug)]
pub struct Idle {
    next: u32,
    nodes: u32,
    /// Additional timers without effect, per second.
    timers: u32,
}

impl Contender for Idle {
    type Timer = bool;

    fn datagram(&mut self, _: u64, from: u32, bytes: &[u8], out: &mut Out<bool>) {
        if bytes[0] == PING[0] {
            out.send_with(|buffer| {
                buffer[..ACK.len()].copy_from_slice(&ACK);
                Some((from, ACK.len()))
            });
        }
    }

    fn timer(&mut self, now: u64, probe: bool, out: &mut Out<bool>) {
        if probe {
            self.next = (self.next + 1) % self.nodes;
            out.send_with(|buffer| {
                buffer[..PING.len()].copy_from_slice(&PING);
                Some((self.next, PING.len()))
            });
            out.wake(now + SECOND, true);
            for other in 0..self.timers {
                out.wake(now + 200_000 * u64::from(other + 1), false);
            }
        }
    }

    fn live(&self) -> usize {
        self.nodes as usize
    }

    fn publish(&mut self, _: u64, _: [u8; VALUE], _: &mut Out<bool>) {}

    fn watch(&mut self, _: u32) {}

    fn heard(&self) -> bool {
        true
    }

    fn accepted(&self) -> u64 {
        0
    }
}

/// Makes an arena of such nodes, with additional timers per second.
#[must_use]
pub fn idle(setting: Setting, timers: u32) -> Arena<Idle> {
    let nodes = setting.nodes;
    let mut arena = Arena::new(setting);
    for index in 0..nodes {
        arena.add(|out| {
            out.wake(u64::from(index) * SECOND / u64::from(nodes), true);
            Idle { next: index, nodes, timers }
        });
    }
    arena
}
