//! Hosts that seal: datagrams are sealed on their way to the socket, and opened before the node
//! sees them.

use std::borrow::Cow;
use std::time::Duration;

use telemetry_gossip_core::{Config, Node, Stamp};
use telemetry_gossip_seal::{Keyring, NoncePrefix, OVERHEAD, Seal};

use super::Simulation;
use crate::network::Kind;
use crate::process::Condition;
use crate::rng::nonce_prefix;

/// A datagram that a process sends; its bytes are in the buffer of the simulation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing {
    pub(super) to: u32,
    pub(super) kind: Kind,
    pub(super) len: usize,
}

/// A datagram that an attacker on the wire has recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tapped {
    /// The source address.
    pub from: u32,
    /// The address to which it was sent.
    pub to: u32,
    /// The bytes on the wire.
    pub bytes: Vec<u8>,
}

/// The contents of a datagram, its stamp if it was sealed, and the age of its prefix's proof.
type Arrived<'d> = (Cow<'d, [u8]>, Option<(Stamp, Option<Duration>)>);

impl Simulation {
    /// The seal of a process: its keys, and counters of its current instance. `None` if the hosts
    /// do not seal.
    #[must_use]
    pub fn seal(&self, index: usize) -> Option<&Seal> {
        self.processes.get(index)?.seal.as_ref()
    }

    /// The keys of a process, to be changed by its host; `None` if the hosts do not seal.
    pub fn keyring_mut(&mut self, index: usize) -> Option<&mut Keyring> {
        self.processes.get_mut(index)?.seal.as_mut().map(Seal::keyring_mut)
    }

    /// The configuration of a process, as its host has it.
    pub(super) fn config(&self, index: usize) -> &Config {
        &self.configs[index % self.configs.len()]
    }

    /// The configuration of the node of a process.
    pub(super) fn node_config(&self, index: usize) -> Config {
        node_config(self.config(index), self.sealing.is_some())
    }

    /// A seal for one instance of a process, with the keys that its host has.
    pub(super) fn new_seal(
        &self,
        index: usize,
        instance: u32,
        kept: Option<Keyring>,
    ) -> Option<Seal> {
        let ring = kept.or_else(|| self.sealing.clone())?;
        Some(Seal::new(ring, NoncePrefix::new(nonce_prefix(self.seed, index, instance))))
    }

    /// Puts the next datagram of a node into the buffer as it goes to the socket, with the frames
    /// that its version adds.
    pub(super) fn next_sent(&mut self, index: usize) -> Option<Outgoing> {
        let mtu = usize::from(self.config(index).mtu);
        let process = &mut self.processes[index];
        let node = process.node.as_mut()?;
        let Some(seal) = &mut process.seal else {
            let sent = node.poll_transmit(&mut self.buffer)?;
            let len = added(&process.addition, &mut self.buffer, sent.len, mtu);
            return Some(Outgoing { to: sent.to, kind: Kind::of(&self.buffer[..len]), len });
        };
        self.plain.resize(self.buffer.len(), 0);
        let sent = node.poll_transmit(&mut self.plain)?;
        let len = added(&process.addition, &mut self.plain, sent.len, mtu - OVERHEAD);
        // Sealing fails only if the buffer is too short, which no MTU allows. A length of 0 would
        // be noticed, since no datagram of a node is empty.
        let kind = Kind::of(&self.plain[..len]);
        let len = seal.seal(&self.plain[..len], &mut self.buffer).unwrap_or(0);
        Some(Outgoing { to: sent.to, kind, len })
    }

    /// Opens a datagram that arrived at a process: the contents, the stamp, and the age of the
    /// proof of its prefix. `None` if the seal refuses it.
    pub(super) fn opened<'d>(&mut self, index: usize, bytes: &'d [u8]) -> Option<Arrived<'d>> {
        let Some(seal) = &mut self.processes[index].seal else {
            return Some((Cow::Borrowed(bytes), None));
        };
        let mut bytes = bytes.to_vec();
        let opened = seal.open_stamped(&mut bytes).ok()?;
        let age = opened.proved_at.map(|at| Duration::from_micros(self.now.saturating_sub(at)));
        let stamp = opened.stamp;
        Some((Cow::Owned(opened.contents.to_vec()), Some((stamp, age))))
    }

    /// Tells the seal of a process what the latest datagram has proved to its node; false if that
    /// is nothing.
    pub(super) fn keep_proof(&mut self, index: usize) -> bool {
        let process = &mut self.processes[index];
        let stamp = process.node.as_mut().and_then(Node::poll_proof);
        if let Some(stamp) = stamp
            && let Some(seal) = &mut process.seal
        {
            seal.prove(stamp, self.now);
        }
        stamp.is_some()
    }

    /// Keeps a copy of each datagram that is sent from now on, as an attacker on the wire would.
    pub fn record_traffic(&mut self) {
        self.tapped.get_or_insert_default();
    }

    /// Takes the copies kept so far, and ends the recording.
    pub fn take_traffic(&mut self) -> Vec<Tapped> {
        self.tapped.take().unwrap_or_default()
    }

    /// Delivers bytes to the socket of a process, as if they came from this address.
    pub fn inject(&mut self, index: usize, from: u32, bytes: &[u8]) {
        if self.condition(index) == Some(Condition::Running) {
            let to = self.processes[index].address;
            let packet = self.packets.add(from, to, bytes);
            self.receive(index, packet);
        }
    }

    /// Copies the datagram in the buffer, if the traffic is recorded.
    pub(super) fn tap(&mut self, index: usize, sent: Outgoing) {
        if let Some(tapped) = &mut self.tapped {
            let from = self.processes[index].address;
            tapped.push(Tapped { from, to: sent.to, bytes: self.buffer[..sent.len].to_vec() });
        }
    }
}

/// The configuration of a node whose datagrams keep to the MTU of `config` on the wire: a seal
/// takes a part of it.
pub(crate) fn node_config(config: &Config, sealed: bool) -> Config {
    let overhead = if sealed { OVERHEAD as u16 } else { 0 };
    config.clone().mtu(config.mtu.saturating_sub(overhead))
}

/// Appends `addition` to a datagram of `len` bytes if both fit `mtu`, and returns the new length.
fn added(addition: &[u8], datagram: &mut [u8], len: usize, mtu: usize) -> usize {
    let whole = len + addition.len();
    if addition.is_empty() || whole > mtu {
        return len;
    }
    datagram[len..whole].copy_from_slice(addition);
    whole
}
