//! Nodes in all situations, kept warm: each is made once, and what changed one is undone from a
//! snapshot, which takes some microseconds. So raw bytes meet a node with state to spoil, a hundred
//! thousand times a second.

use std::cell::RefCell;
use std::net::SocketAddr;

use telemetry_gossip_core::{Input, InputError, Node, WireError};

use crate::datagram::{ADDRESSES, situations};
use crate::watched::{Standing, refusals};

/// A reply to a sender that has not proved its address is at most this many times as long as what
/// it sent.
pub const AMPLIFICATION: usize = 3;

/// A node in one of the situations.
#[derive(Debug)]
pub struct Warm {
    saved: Vec<u8>,
    node: Node<SocketAddr>,
    changed: bool,
    buf: Vec<u8>,
}

thread_local! {
    static NODES: RefCell<Vec<Warm>> = RefCell::new(situations().iter().map(|situation| {
        let node = situation.node().node;
        let saved = node.snapshot().expect("a watched node is drained");
        let buf = vec![0; node.config().mtu.into()];
        Warm { saved, node, changed: false, buf }
    }).collect());
}

/// An input's first byte says who sends to a node in which situation: one of three members, or a
/// stranger.
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

/// The first byte of an input for this situation and sender, 0 for the first of the three.
#[must_use]
pub fn first(situation: usize, from: usize) -> u8 {
    u8::try_from(situation << 2 | from & 0b11).unwrap_or(0)
}

impl Warm {
    /// The node, for reading.
    #[must_use]
    pub fn node(&self) -> &Node<SocketAddr> {
        &self.node
    }

    /// The node as the situation left it.
    pub fn put_back(&mut self) {
        if core::mem::take(&mut self.changed) {
            self.node = Node::restore(&self.saved).expect("it was saved");
        }
    }

    /// One datagram arrives at the node as the situation left it.
    ///
    /// # Panics
    /// If it is refused and leaves a trace, or accepted and breaks an invariant.
    pub fn hear(&mut self, from: SocketAddr, bytes: &[u8]) -> Result<(), WireError> {
        self.put_back();
        let node = &mut self.node;
        let (before, counted) = (Standing::of(node), refusals(node));
        match node.handle(node.now(), Input::Datagram { from, bytes: bytes.into() }) {
            Err(InputError::Datagram(error)) => {
                assert_eq!(before, Standing::of(node), "refused ({error}), and the state changed");
                assert_eq!(refusals(node), counted + 1, "refused ({error}), and not counted once");
                let silent =
                    node.poll_transmit(&mut self.buf).is_none() && node.poll_event().is_none();
                assert!(silent, "refused ({error}), and answered");
                Err(error)
            }
            Err(error) => panic!("a datagram is blamed on the host: {error}"),
            Ok(()) => {
                self.changed = true;
                assert_eq!(node.check_invariants(), Ok(()));
                Ok(())
            }
        }
    }

    /// The node's next deadline comes.
    ///
    /// # Panics
    /// If that breaks an invariant.
    pub fn tick(&mut self) {
        let Some(due) = self.node.poll_timeout() else { return };
        self.changed = true;
        self.node.handle(due, Input::Tick).expect("a tick is never refused");
        assert_eq!(self.node.check_invariants(), Ok(()));
        let (next, now) = (self.node.poll_timeout(), self.node.now());
        assert!(
            next.is_none_or(|next| next > now),
            "S15: after a tick at {now} one is wanted at {next:?}"
        );
    }

    /// Passes on all that the node wants to send, and drops its events.
    pub fn said(&mut self, mut to: impl FnMut(SocketAddr, &[u8])) {
        while let Some(sent) = self.node.poll_transmit(&mut self.buf) {
            to(sent.to, &self.buf[..sent.len]);
        }
        while self.node.poll_event().is_some() {}
    }

    /// Whether a member is known to be at this address.
    #[must_use]
    pub fn knows(&self, address: SocketAddr) -> bool {
        self.node.members().any(|member| member.address() == Some(address))
    }
}
