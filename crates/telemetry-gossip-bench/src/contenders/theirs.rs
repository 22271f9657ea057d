//! Nodes of foca.

use core::cell::Cell;
use core::convert::Infallible;
use core::num::NonZeroU32;
use core::time::Duration;
use std::rc::Rc;

use foca::{BroadcastHandler, Foca, Invalidates, Notification, PostcardCodec, Runtime, Timer};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use serde::{Deserialize, Serialize};

use crate::arena::{Arena, Contender, Out, Setting, VALUE};

/// A foca identity as in its example agent: a socket address, and a number that changes after a
/// restart. The address is a packed IPv4 address, because foca compares identities one by one: with
/// `SocketAddr` it needs several times the instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    ip: [u8; 4],
    port: u16,
    bump: u16,
}

impl Peer {
    const fn index(&self) -> u32 {
        u32::from_be_bytes(self.ip) & 0x00ff_ffff
    }
}

impl foca::Identity for Peer {
    type Addr = (u32, u16);

    fn renew(&self) -> Option<Self> {
        Some(Self { bump: self.bump.wrapping_add(1), ..*self })
    }

    fn addr(&self) -> (u32, u16) {
        (u32::from_ne_bytes(self.ip), self.port)
    }

    fn win_addr_conflict(&self, other: &Self) -> bool {
        self.bump > other.bump
    }
}

/// The key of a value, four bytes each in front of it: the node and the version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    origin: u32,
    version: u32,
}

impl Invalidates for Key {
    fn invalidates(&self, other: &Self) -> bool {
        self.origin == other.origin && self.version >= other.version
    }
}

/// The newest value of each node, by its index. After the first value this neither searches nor
/// allocates.
#[derive(Debug)]
pub(super) struct Values {
    held: Vec<(u32, [u8; VALUE])>,
    nodes: u32,
    seen: Rc<Seen>,
}

/// What the host observes of the values, to which foca gives no access.
#[derive(Debug, Default)]
struct Seen {
    watched: Cell<Option<u32>>,
    heard: Cell<bool>,
    accepted: Cell<u64>,
}

impl BroadcastHandler<Peer> for Values {
    type Key = Key;
    type Error = Infallible;

    fn receive_item(&mut self, data: &[u8], _: Option<&Peer>) -> Result<Option<Key>, Infallible> {
        let Some((head, value)) = data.split_first_chunk::<8>() else { return Ok(None) };
        let (&[a, b, c, d, e, f, g, h], Ok(value)) = (head, value.try_into()) else {
            return Ok(None);
        };
        let (origin, version) =
            (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        if self.held.is_empty() {
            self.held.resize(self.nodes as usize, (0, [0; VALUE]));
        }
        match self.held.get_mut(origin as usize) {
            Some(held) if held.0 < version => *held = (version, value),
            _ => return Ok(None),
        }
        self.seen.heard.set(self.seen.heard.get() || self.seen.watched.get() == Some(origin));
        self.seen.accepted.set(self.seen.accepted.get() + 1);
        Ok(Some(Key { origin, version }))
    }
}

/// A node of foca.
#[expect(missing_debug_implementations, reason = "`Foca` has none")]
pub struct Theirs {
    foca: Foca<Peer, PostcardCodec, ChaCha8Rng, Values>,
    version: u32,
    seen: Rc<Seen>,
}

impl Theirs {
    /// Adds members at an incarnation, and gossips them if `tell` is set.
    ///
    /// # Panics
    /// Never: members are valid.
    pub fn apply(
        &mut self,
        now: u64,
        members: impl Iterator<Item = u32>,
        incarnation: u16,
        tell: bool,
        out: &mut Out<Timer<Peer>>,
    ) {
        let members = members
            .map(|member| foca::Member::new(identity(member), incarnation, foca::State::Alive));
        self.foca.apply_many(members, tell, Carrier { now, out }).expect("members are valid");
    }
}

struct Carrier<'a> {
    now: u64,
    out: &'a mut Out<Timer<Peer>>,
}

impl Runtime<Peer> for Carrier<'_> {
    fn notify(&mut self, _: Notification<'_, Peer>) {}

    fn send_to(&mut self, to: Peer, data: &[u8]) {
        self.out.send_with(|buffer| {
            buffer[..data.len()].copy_from_slice(data);
            Some((to.index(), data.len()))
        });
    }

    fn submit_after(&mut self, event: Timer<Peer>, after: Duration) {
        let after = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        self.out.wake(self.now.saturating_add(after), event);
    }
}

impl Contender for Theirs {
    type Timer = Timer<Peer>;

    fn datagram(&mut self, now: u64, _: u32, bytes: &[u8], out: &mut Out<Timer<Peer>>) {
        let _ = self.foca.handle_data(bytes, Carrier { now, out });
    }

    fn timer(&mut self, now: u64, timer: Timer<Peer>, out: &mut Out<Timer<Peer>>) {
        let _ = self.foca.handle_timer(timer, Carrier { now, out });
    }

    fn live(&self) -> usize {
        self.foca.iter_members().count() + 1
    }

    fn publish(&mut self, _: u64, value: [u8; VALUE], _: &mut Out<Timer<Peer>>) {
        self.version += 1;
        let mut data = [0; 8 + VALUE];
        data[..4].copy_from_slice(&self.foca.identity().index().to_be_bytes());
        data[4..8].copy_from_slice(&self.version.to_be_bytes());
        data[8..].copy_from_slice(&value);
        let _ = self.foca.add_broadcast(&data);
    }

    fn watch(&mut self, origin: u32) {
        self.seen.watched.set(Some(origin));
        self.seen.heard.set(self.foca.identity().index() == origin);
    }

    fn heard(&self) -> bool {
        self.seen.heard.get()
    }

    fn accepted(&self) -> u64 {
        self.seen.accepted.get()
    }
}

/// Returns the first identity of a node.
#[must_use]
pub fn identity(index: u32) -> Peer {
    let [_, a, b, c] = index.to_be_bytes();
    Peer { ip: [10, a, b, c], port: 7_946, bump: 0 }
}

/// Makes one node that knows the members `0..nodes`.
///
/// # Panics
/// If `nodes` is zero.
#[must_use]
pub fn lone_foca(own: u32, nodes: u32, seed: u64, now: u64, out: &mut Out<Timer<Peer>>) -> Theirs {
    let config = foca::Config::new_lan(NonZeroU32::new(nodes).expect("a cluster has nodes"));
    let rng = ChaCha8Rng::seed_from_u64(seed << 32 | u64::from(own));
    let seen = Rc::new(Seen::default());
    let values = Values { held: Vec::new(), nodes, seen: Rc::clone(&seen) };
    let foca = Foca::with_custom_broadcast(identity(own), config, rng, PostcardCodec, values);
    let mut node = Theirs { foca, version: 0, seen };
    node.apply(now, (0..nodes).filter(|&other| other != own), 0, false, out);
    node
}

/// Makes an arena of nodes of foca that know each other.
#[must_use]
pub fn foca(setting: Setting) -> Arena<Theirs> {
    let Setting { nodes, seed, .. } = setting;
    let mut arena = Arena::new(setting);
    for own in 0..nodes {
        // The starts are spread over one second.
        let now = u64::from(own) * 1_000_000 / u64::from(nodes);
        arena.add(|out| lone_foca(own, nodes, seed, now, out));
    }
    arena
}
