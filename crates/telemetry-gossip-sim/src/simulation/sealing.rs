//! Sealed hosts: what a node sends is sealed on its way to the socket, and what arrives is opened before the node sees it.

use telemetry_gossip_core::{Config, Transmit};
use telemetry_gossip_seal::{Keyring, OVERHEAD, Seal, Session};

use super::Simulation;
use crate::rng::session;

impl Simulation {
    /// The seal of a process, if the hosts seal: its keys, and what it has refused in this life.
    #[must_use]
    pub fn seal(&self, index: usize) -> Option<&Seal> {
        self.processes.get(index)?.seal.as_ref()
    }

    /// The keys of a process, for its host to change.
    pub fn keyring_mut(&mut self, index: usize) -> Option<&mut Keyring> {
        self.processes.get_mut(index)?.seal.as_mut().map(Seal::keyring_mut)
    }

    /// The settings of a node: sealing takes its part of the MTU.
    pub(super) fn node_config(&self) -> Config {
        let overhead = if self.sealing.is_some() { OVERHEAD as u16 } else { 0 };
        Config { mtu: self.config.mtu.saturating_sub(overhead), ..self.config.clone() }
    }

    /// The seal of one life of a process, with the keys that its host has.
    pub(super) fn new_seal(&self, index: usize, boots: u32, kept: Option<Keyring>) -> Option<Seal> {
        let ring = kept.or_else(|| self.sealing.clone())?;
        Some(Seal::new(ring, Session(session(self.seed, index, boots))))
    }

    /// The next datagram of a node as it goes to the socket, with what its build adds: its bytes are in the buffer.
    pub(super) fn next_sent(&mut self, index: usize) -> Option<Transmit<u32>> {
        let process = &mut self.processes[index];
        let node = process.node.as_mut()?;
        let Some(seal) = &mut process.seal else {
            let sent = node.poll_transmit(&mut self.buffer)?;
            let len = added(&process.addition, &mut self.buffer, sent.len, usize::from(self.config.mtu));
            return Some(Transmit { len, ..sent });
        };
        self.plain.resize(self.buffer.len(), 0);
        let sent = node.poll_transmit(&mut self.plain)?;
        let len =
            added(&process.addition, &mut self.plain, sent.len, usize::from(self.config.mtu) - OVERHEAD);
        // A length of zero would be seen: no datagram of a node is empty, and none is too long for the buffer.
        let len = seal.seal(&self.plain[..len], &mut self.buffer).unwrap_or(0);
        Some(Transmit { len, ..sent })
    }

    /// What has come to a process, without its seal; `None` if that refuses it.
    pub(super) fn opened(&mut self, index: usize, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        match &mut self.processes[index].seal {
            None => Some(bytes),
            Some(seal) => seal.open(&mut bytes).ok().map(<[u8]>::to_vec),
        }
    }
}

/// How long a datagram of `len` bytes is with `addition` after it, which is written where there is room up to `mtu`.
fn added(addition: &[u8], datagram: &mut [u8], len: usize, mtu: usize) -> usize {
    let whole = len + addition.len();
    if addition.is_empty() || whole > mtu {
        return len;
    }
    datagram[len..whole].copy_from_slice(addition);
    whole
}
