//! One node per situation, made once and used again for each input.
//!
//! A node that an input has changed is restored from a snapshot, which takes a few microseconds. So
//! a hundred thousand datagrams per second arrive at a node that has state to damage.

use std::cell::RefCell;
use std::net::SocketAddr;

use telemetry_gossip_core::{Input, InputError, Node, WireError};

use crate::situation::{ADDRESSES, situations};
use crate::watched::{Standing, only_drops, refusals};

/// A reusable node in one of the situations.
#[derive(Debug)]
pub struct Warm {
    saved: Vec<u8>,
    node: Node<SocketAddr>,
    changed: bool,
    buf: Vec<u8>,
}

thread_local! {
    static NODES: RefCell<Vec<Warm>> = RefCell::new(situations().iter().map(|situation| {
        Warm::new(situation.node().node)
    }).collect());
}

/// Calls `check` with the node and the sender that the first byte of an input selects. The sender
/// is one of three members or a stranger.
///
/// # Panics
/// If `check` does.
pub fn meet<T>(first: u8, check: impl FnOnce(&mut Warm, SocketAddr) -> T) -> T {
    let from = ADDRESSES[1 + usize::from(first & 0b11)];
    NODES.with_borrow_mut(|nodes| {
        let at = usize::from(first >> 2) % nodes.len();
        check(&mut nodes[at], from)
    })
}

/// Returns the first byte of an input for this situation and sender, 0 for the first member.
#[must_use]
pub fn first(situation: usize, from: usize) -> u8 {
    u8::try_from(situation << 2 | from & 0b11).unwrap_or(0)
}

impl Warm {
    /// Makes a drained node reusable.
    ///
    /// # Panics
    /// If the node is not drained.
    #[must_use]
    pub fn new(node: Node<SocketAddr>) -> Self {
        let saved = node.snapshot().expect("the node is drained");
        let buf = vec![0; node.config().mtu.into()];
        Self { saved, node, changed: false, buf }
    }

    /// Returns the node.
    #[must_use]
    pub fn node(&self) -> &Node<SocketAddr> {
        &self.node
    }

    /// Restores the node to its situation.
    pub fn restore(&mut self) {
        if core::mem::take(&mut self.changed) {
            self.node = Node::restore(&self.saved).expect("the snapshot is valid");
        }
    }

    /// Restores the node and delivers one datagram to it.
    ///
    /// # Panics
    /// If a refused datagram leaves a trace, or an accepted one breaks an invariant.
    pub fn receive(&mut self, from: SocketAddr, bytes: &[u8]) -> Result<(), WireError> {
        self.restore();
        let node = &mut self.node;
        let (before, counted) = (Standing::of(node), refusals(node));
        match node.handle(node.now(), Input::Datagram { from, bytes: bytes.into() }) {
            Err(InputError::Datagram(error)) => {
                let after = Standing::of(node);
                assert!(
                    after.is_as(&before),
                    "refused ({error}), but the state changed: {before:?}, {after:?}"
                );
                assert_eq!(refusals(node), counted + 1, "refused ({error}), but not counted once");
                let events: Vec<_> = core::iter::from_fn(|| node.poll_event()).collect();
                let silent = node.poll_transmit(&mut self.buf).is_none() && only_drops(&events);
                assert!(silent, "refused ({error}), but answered");
                Err(error)
            }
            Err(error) => panic!("a datagram got the error of a command: {error}"),
            Ok(()) => {
                self.changed = true;
                assert_eq!(node.check_invariants(), Ok(()));
                Ok(())
            }
        }
    }

    /// Ticks the node at its next deadline.
    ///
    /// # Panics
    /// If the tick breaks an invariant.
    pub fn tick(&mut self) {
        let Some(due) = self.node.poll_timeout() else { return };
        self.changed = true;
        self.node.handle(due, Input::Tick).expect("a tick is never refused");
        assert_eq!(self.node.check_invariants(), Ok(()));
        let (next, now) = (self.node.poll_timeout(), self.node.now());
        assert!(
            next.is_none_or(|next| next > now),
            "S15: after a tick at {now} the next deadline is {next:?}"
        );
    }

    /// Passes all datagrams of the node to `to`, and drops its events.
    pub fn drain(&mut self, mut to: impl FnMut(SocketAddr, &[u8])) {
        while let Some(sent) = self.node.poll_transmit(&mut self.buf) {
            to(sent.to, &self.buf[..sent.len]);
        }
        while self.node.poll_event().is_some() {}
    }

    /// Returns whether the node knows a member with this address.
    #[must_use]
    pub fn knows(&self, address: SocketAddr) -> bool {
        self.node.members().any(|member| member.address() == Some(address))
    }
}
