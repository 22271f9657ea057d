//! Sealed hosts: what a node sends is sealed on its way to the socket, and what arrives is opened
//! before the node sees it.

use telemetry_gossip_core::Config;
use telemetry_gossip_seal::{Keyring, NoncePrefix, OVERHEAD, Seal};

use super::Simulation;
use crate::network::Kind;
use crate::rng::session;

/// A datagram that a process sends: its bytes are in the simulation's buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing {
    pub(super) to: u32,
    pub(super) kind: Kind,
    pub(super) len: usize,
}

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

    /// The settings of a node.
    pub(super) fn node_config(&self) -> Config {
        node_config(&self.config, self.sealing.is_some())
    }

    /// The seal of one life of a process, with the keys that its host has.
    pub(super) fn new_seal(&self, index: usize, boots: u32, kept: Option<Keyring>) -> Option<Seal> {
        let ring = kept.or_else(|| self.sealing.clone())?;
        Some(Seal::new(ring, NoncePrefix::new(session(self.seed, index, boots))))
    }

    /// The next datagram of a node as it goes to the socket, with what its build adds: its bytes
    /// are in the buffer.
    pub(super) fn next_sent(&mut self, index: usize) -> Option<Outgoing> {
        let process = &mut self.processes[index];
        let node = process.node.as_mut()?;
        let Some(seal) = &mut process.seal else {
            let sent = node.poll_transmit(&mut self.buffer)?;
            let len =
                added(&process.addition, &mut self.buffer, sent.len, usize::from(self.config.mtu));
            return Some(Outgoing { to: sent.to, kind: Kind::of(&self.buffer[..len]), len });
        };
        self.plain.resize(self.buffer.len(), 0);
        let sent = node.poll_transmit(&mut self.plain)?;
        let len = added(
            &process.addition,
            &mut self.plain,
            sent.len,
            usize::from(self.config.mtu) - OVERHEAD,
        );
        // A length of zero would be seen: no datagram of a node is empty, and none is too long for
        // the buffer.
        let kind = Kind::of(&self.plain[..len]);
        let len = seal.seal(&self.plain[..len], &mut self.buffer).unwrap_or(0);
        Some(Outgoing { to: sent.to, kind, len })
    }

    /// What has come to a process, without its seal; `None` if that refuses it.
    pub(super) fn opened(&mut self, index: usize, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        match &mut self.processes[index].seal {
            None => Some(bytes),
            Some(seal) => seal.open(&mut bytes).ok().map(<[u8]>::to_vec),
        }
    }
}

/// The settings of a node whose datagrams keep to the MTU of `config` on the wire: a seal takes its
/// part.
pub(crate) fn node_config(config: &Config, sealed: bool) -> Config {
    let overhead = if sealed { OVERHEAD as u16 } else { 0 };
    config.clone().mtu(config.mtu.saturating_sub(overhead))
}

/// How long a datagram of `len` bytes is with `addition` after it, which is written where there is
/// room up to `mtu`.
fn added(addition: &[u8], datagram: &mut [u8], len: usize, mtu: usize) -> usize {
    let whole = len + addition.len();
    if addition.is_empty() || whole > mtu {
        return len;
    }
    datagram[len..whole].copy_from_slice(addition);
    whole
}
