//! The two libraries as contenders, with the settings that each recommends for a LAN: 1 s probe period.

use core::num::NonZeroU32;
use core::time::Duration;

use foca::{Foca, Identity as _, NoCustomBroadcast, Notification, PostcardCodec, Runtime, Timer};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{Config, Generation, Identity, Input, Instant, Node, NodeId, Status};

use crate::arena::{Arena, Contender, Out};

/// A node of this project.
#[derive(Debug)]
pub struct Ours {
    node: Node<u32>,
    armed: Option<u64>,
    buffer: Vec<u8>,
}

impl Ours {
    fn input(&mut self, now: u64, input: Input<'_, u32>, out: &mut Out<()>) {
        // What a peer sends is valid here, and a tick is never refused.
        let _ = self.node.handle(Instant::from_micros(now), input);
        self.drain(out);
    }

    fn drain(&mut self, out: &mut Out<()>) {
        while let Some(sent) = self.node.poll_transmit(&mut self.buffer) {
            out.datagrams.push((sent.to, self.buffer[..sent.len].to_vec()));
        }
        while self.node.poll_event().is_some() {}
        if let Some(at) = self.node.poll_timeout().map(Instant::as_micros)
            && self.armed.is_none_or(|armed| at < armed)
        {
            self.armed = Some(at);
            out.timers.push((at, ()));
        }
    }
}

impl Contender for Ours {
    type Timer = ();

    fn datagram(&mut self, now: u64, from: u32, bytes: &[u8], out: &mut Out<()>) {
        self.input(now, Input::Datagram { from, bytes: bytes.into() }, out);
    }

    fn timer(&mut self, now: u64, (): (), out: &mut Out<()>) {
        if self.armed.is_some_and(|armed| armed <= now) {
            self.armed = None;
        }
        if self.node.poll_timeout().is_some_and(|due| due.as_micros() <= now) {
            self.input(now, Input::Tick, out);
        } else {
            self.drain(out);
        }
    }

    fn live(&self) -> usize {
        self.node.members().filter(|member| member.status() == Status::Alive).count()
    }
}

fn name(index: u32) -> NodeId {
    format!("node-{index}").parse().unwrap_or_else(|_| unreachable!("digits are valid in an id"))
}

/// Nodes of this project that know each other.
///
/// # Panics
/// Never: the settings are the defaults.
#[must_use]
pub fn ours(nodes: u32, seed: u64) -> Arena<Ours> {
    let mut arena = Arena::new(seed);
    for index in 0..nodes {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&index.to_le_bytes());
        bytes[4..12].copy_from_slice(&seed.to_le_bytes());
        let identity = Identity::new(name(index), index);
        let node = Node::new(Config::lan(), identity, bytes, Instant::ORIGIN).expect("defaults are valid");
        let mut ours = Ours { node, armed: None, buffer: vec![0; 1_400] };
        let mut out = Out::default();
        for other in (0..nodes).filter(|&other| other != index) {
            let (id, generation) = (name(other), Generation(0));
            let input = Input::Introduce { id, address: Some(other), instance: None, generation };
            ours.input(0, input, &mut out);
        }
        arena.add(ours, out);
    }
    arena
}

/// A foca identity: an address that never comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer(u32);

impl foca::Identity for Peer {
    type Addr = u32;

    fn renew(&self) -> Option<Self> {
        None
    }

    fn addr(&self) -> u32 {
        self.0
    }

    fn win_addr_conflict(&self, _: &Self) -> bool {
        false
    }
}

/// A node of foca.
#[expect(missing_debug_implementations, reason = "foca's has none")]
pub struct Theirs(Foca<Peer, PostcardCodec, ChaCha8Rng, NoCustomBroadcast>);

struct Carrier<'a> {
    now: u64,
    out: &'a mut Out<Timer<Peer>>,
}

impl Runtime<Peer> for Carrier<'_> {
    fn notify(&mut self, _: Notification<'_, Peer>) {}

    fn send_to(&mut self, to: Peer, data: &[u8]) {
        self.out.datagrams.push((to.addr(), data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Peer>, after: Duration) {
        let after = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        self.out.timers.push((self.now.saturating_add(after), event));
    }
}

impl Contender for Theirs {
    type Timer = Timer<Peer>;

    fn datagram(&mut self, now: u64, _: u32, bytes: &[u8], out: &mut Out<Timer<Peer>>) {
        let _ = self.0.handle_data(bytes, Carrier { now, out });
    }

    fn timer(&mut self, now: u64, timer: Timer<Peer>, out: &mut Out<Timer<Peer>>) {
        let _ = self.0.handle_timer(timer, Carrier { now, out });
    }

    fn live(&self) -> usize {
        self.0.iter_members().count() + 1
    }
}

/// Nodes of foca that know each other.
///
/// # Panics
/// If `nodes` is zero.
#[must_use]
pub fn foca(nodes: u32, seed: u64) -> Arena<Theirs> {
    let config = foca::Config::new_lan(NonZeroU32::new(nodes).expect("a cluster has nodes"));
    let mut arena = Arena::new(seed);
    for index in 0..nodes {
        let rng = ChaCha8Rng::seed_from_u64(seed << 32 | u64::from(index));
        let mut node = Foca::new(Peer(index), config.clone(), rng, PostcardCodec);
        let mut out = Out::default();
        let others = (0..nodes).filter(|&other| other != index).map(|other| foca::Member::alive(Peer(other)));
        // Starts are spread over a second.
        let now = u64::from(index) * 1_000_000 / u64::from(nodes);
        node.apply_many(others, false, Carrier { now, out: &mut out }).expect("members are valid");
        arena.add(Theirs(node), out);
    }
    arena
}
