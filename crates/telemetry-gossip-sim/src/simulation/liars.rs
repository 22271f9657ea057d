//! Liars: their moves, their addresses, and what the checker has to know of their lies.

use telemetry_gossip_seal::{NoncePrefix, OVERHEAD, Seal};

use super::sealing::Outgoing;
use super::{QueuedEvent, Simulation, find_name};
use crate::liar::{self, Plan, Sending, Told};
use crate::network::Kind;
use crate::rng::{micros, nonce_prefix};

/// The place of the first liar in the network. No barrier stops liars.
const FIRST: usize = 1 << 20;

impl Simulation {
    /// Begins a lie of a new liar, about and to these processes.
    pub(crate) fn begin_lie(&mut self, plan: Plan, about: Vec<usize>, to: Vec<usize>) {
        if plan.key && self.liars_seal.is_none() {
            let prefix = NoncePrefix::new(nonce_prefix(self.seed, FIRST, 0));
            self.liars_seal = self.sealing.clone().map(|ring| Seal::new(ring, prefix));
        }
        let liar = self.liars.begin(plan, about, to);
        self.schedule_move(liar);
    }

    /// Ends all lies, and closes the addresses of all liars; returns false if there are none.
    pub(crate) fn stop_lying(&mut self) -> bool {
        self.liars.stop()
    }

    fn schedule_move(&mut self, liar: usize) {
        if let (Some(pause), Ok(number)) = (self.liars.pause(liar), u32::try_from(liar)) {
            let at = self.now.saturating_add(micros(pause));
            self.schedule(at, QueuedEvent::Lie { liar: number });
        }
    }

    /// Lets a liar move.
    pub(super) fn lie(&mut self, liar: u32) {
        for sending in self.liars.act(liar as usize, &self.processes) {
            self.send_lie(sending);
        }
        self.schedule_move(liar as usize);
    }

    /// The place in the network of the liar that listens at an address.
    pub(super) fn liar_at(&self, address: u32) -> Option<usize> {
        self.liars.listening(address).map(|liar| FIRST + liar)
    }

    fn send_lie(&mut self, sending: Sending) {
        let Sending { liar, from, to, bytes, recorded } = sending;
        let kind = Kind::of(&bytes);
        let len = if recorded || self.sealing.is_none() {
            self.buffer[..bytes.len()].copy_from_slice(&bytes);
            bytes.len()
        } else if let Some(seal) = self.liars_seal.as_mut().filter(|_| self.liars.holds_key(liar)) {
            seal.seal(&bytes, &mut self.buffer).unwrap_or(0)
        } else {
            return;
        };
        self.fabric.traffic.lies += 1;
        self.fabric.traffic.recorded += u64::from(recorded);
        self.carry(FIRST + liar, from, Outgoing { to, kind, len }, !recorded);
    }

    /// Passes a packet to the liar at its destination, and sends the answer; returns false if no
    /// liar listens there.
    pub(super) fn hear_as_liar(&mut self, packet: u32) -> bool {
        let packet = &self.packets.all[packet as usize];
        let (at, from) = (packet.to, packet.from);
        let Some(liar) = self.liars.listening(at) else { return false };
        self.fabric.traffic.delivered += 1;
        self.fabric.traffic.to_liars += 1;
        let mut bytes = packet.bytes.clone();
        let contents = match &mut self.liars_seal {
            _ if self.sealing.is_none() => Some(bytes),
            Some(seal) if self.liars.holds_key(liar) => {
                seal.open_stamped(&mut bytes).ok().map(|opened| opened.contents.to_vec())
            }
            _ => None,
        };
        let answer =
            contents.and_then(|contents| self.liars.hear(at, from, &contents, &self.processes));
        if let Some(answer) = answer {
            self.send_lie(answer);
        }
        true
    }

    /// Lets the liars listen to the datagram in the buffer.
    pub(super) fn overhear(&mut self, index: usize, sent: Outgoing) {
        let sealed = self.processes[index].seal.is_some();
        if !self.liars.overhears(false) {
            return;
        }
        let wire = &self.buffer[..sent.len];
        let contents = match sealed {
            false => Some(wire),
            true if self.liars.overhears(true) => Some(&self.plain[..sent.len - OVERHEAD]),
            true => None,
        };
        self.liars.overhear(self.processes[index].address, sent.to, wire, contents);
    }

    /// Tells the checker what a lie says, before a node may believe it.
    pub(super) fn believe(&mut self, contents: &[u8]) {
        for told in liar::told(contents) {
            match told {
                Told::Claim { id, generation, alive } => {
                    let is_node = find_name(&self.ids, &self.names, id.as_str())
                        .is_some_and(|name| self.processes.iter().any(|one| one.name == name));
                    let name = self.name(id);
                    self.checker.lied(name, generation, alive, is_node);
                }
                Told::Telemetry { owner } => {
                    let of_owner = |one: &&crate::process::Process| one.id.id_hash().0 == owner;
                    let name = self.processes.iter().find(of_owner).map(|owner| owner.name);
                    if let Some(name) = name {
                        self.checker.lied_telemetry(name);
                    }
                }
            }
        }
    }

    /// The ids of processes that run and have not left, none of which is a member: each of them
    /// has been ended by another process.
    pub(crate) fn ids_without_member(&self) -> Vec<String> {
        let mut lost: Vec<String> = Vec::new();
        for process in &self.processes {
            let is_lost = process.node.is_some()
                && !process.leaving
                && !self.processes.iter().any(|one| one.name == process.name && one.takes_part());
            if is_lost && !lost.iter().any(|id| id == process.id.as_str()) {
                lost.push(process.id.as_str().to_owned());
            }
        }
        lost
    }
}
