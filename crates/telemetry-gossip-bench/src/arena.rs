//! Nodes of one library, a network, and virtual time.

use std::fmt::Debug;

use crate::queue::Queue;

/// One node of a library. Times are microseconds.
pub trait Contender {
    /// What a timer carries.
    type Timer: Debug;
    /// A datagram from `from`.
    fn datagram(&mut self, now: u64, from: u32, bytes: &[u8], out: &mut Out<Self::Timer>);
    /// A timer that it asked for.
    fn timer(&mut self, now: u64, timer: Self::Timer, out: &mut Out<Self::Timer>);
    /// How many live members it knows, itself included.
    fn live(&self) -> usize;
    /// The host has a new value of 64 bytes for everybody.
    fn publish(&mut self, now: u64, value: [u8; VALUE], out: &mut Out<Self::Timer>);
    /// From now on `heard` is about the next value of this node.
    fn watch(&mut self, origin: u32);
    /// Whether the value watched for has come.
    fn heard(&self) -> bool;
    /// How many values of others were news to it so far.
    fn accepted(&self) -> u64;
}

/// Bytes of a published value.
pub const VALUE: usize = 64;

/// The most bytes of a datagram.
pub const MTU: usize = 1_400;

/// Room for one payload; it is used again, so that carrying payloads allocates nothing.
type Buffer = Box<[u8; MTU]>;

/// What a node wants carried out.
#[derive(Debug)]
pub struct Out<T> {
    sends: Vec<Send>,
    timers: Vec<(u64, T)>,
    free: Vec<Buffer>,
}

/// A payload on its way.
#[derive(Debug)]
struct Send {
    to: u32,
    buffer: Buffer,
    len: u32,
}

/// A node may send so many datagrams at once before a buffer has to be made.
const AHEAD: usize = 64;

impl<T> Default for Out<T> {
    fn default() -> Self {
        let mut out = Self {
            sends: Vec::with_capacity(AHEAD),
            timers: Vec::with_capacity(AHEAD),
            free: Vec::with_capacity(AHEAD),
        };
        out.make_buffers();
        out
    }
}

impl<T> Out<T> {
    fn make_buffers(&mut self) {
        while self.free.len() < AHEAD {
            self.free.push(Box::new([0; MTU]));
        }
    }

    /// Sends what `write` puts into the buffer: to whom, and how many bytes; false if that is
    /// nothing.
    pub fn send_with(
        &mut self,
        write: impl FnOnce(&mut [u8; MTU]) -> Option<(u32, usize)>,
    ) -> bool {
        let mut buffer = self.free.pop().unwrap_or_else(|| Box::new([0; MTU]));
        let Some((to, len)) = write(&mut buffer) else {
            self.free.push(buffer);
            return false;
        };
        self.sends.push(Send { to, buffer, len: u32::try_from(len).unwrap_or(0) });
        true
    }

    /// Sets a timer.
    pub fn wake(&mut self, at: u64, timer: T) {
        self.timers.push((at, timer));
    }

    /// Takes what is to be sent: to whom, what.
    pub fn drain_sends(&mut self, mut each: impl FnMut(u32, &[u8])) {
        for send in self.sends.drain(..) {
            each(send.to, &send.buffer[..send.len as usize]);
            self.free.push(send.buffer);
        }
    }

    /// Bytes that are to be sent.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.sends.iter().map(|send| send.len as usize).sum()
    }

    /// Takes the timers.
    pub fn drain_timers(&mut self) -> impl Iterator<Item = (u64, T)> {
        self.timers.drain(..)
    }
}

#[derive(Debug)]
enum What<T> {
    Datagram { from: u32, buffer: Buffer, len: u32 },
    Timer(T, u32),
}

/// One input of a node that is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// A datagram: when, from whom, what.
    Datagram(u64, u32, Vec<u8>),
    /// A timer: when, and its number among those that the node has asked for.
    Timer(u64, u32),
}

#[derive(Debug, Default)]
struct Record {
    timers: u32,
    inputs: Vec<Recorded>,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams sent.
    pub sent: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Datagrams handled.
    pub handled: u64,
    /// Timers handled.
    pub timers: u64,
    /// What the meter counted in calls of nodes.
    pub metered: u64,
}

impl std::ops::Sub for Counts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            sent: self.sent - before.sent,
            bytes: self.bytes - before.bytes,
            handled: self.handled - before.handled,
            timers: self.timers - before.timers,
            metered: self.metered - before.metered,
        }
    }
}

/// How large a cluster, which random choices, how good a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// How many nodes.
    pub nodes: u32,
    /// Decides all random choices.
    pub seed: u64,
    /// So many of a hundred datagrams are lost.
    pub loss_percent: u32,
    /// Whether what happens to node 0 is kept.
    pub recorded: bool,
}

impl Setting {
    /// A network that loses nothing.
    #[must_use]
    pub const fn new(nodes: u32, seed: u64) -> Self {
        Self { nodes, seed, loss_percent: 0, recorded: false }
    }
}

/// Nodes, network and virtual time of one run. The network is a LAN: 0.2 to 0.8 ms, uniformly.
#[derive(Debug)]
pub struct Arena<C: Contender> {
    /// The nodes; a node's address follows from its index.
    pub nodes: Vec<C>,
    /// What happened so far.
    pub counts: Counts,
    /// Read before and after each call of a node; what lies between is summed up.
    pub meter: Option<fn() -> u64>,
    /// Datagrams lost, in 2^-32.
    loss: u64,
    now: u64,
    queue: Queue<(u32, What<C::Timer>)>,
    out: Out<C::Timer>,
    random: u64,
    record: Option<Record>,
}

impl<C: Contender> Arena<C> {
    /// An empty arena.
    #[must_use]
    pub fn new(setting: Setting) -> Self {
        Self {
            nodes: Vec::new(),
            counts: Counts::default(),
            meter: None,
            loss: (u64::from(setting.loss_percent) << 32) / 100,
            now: 0,
            queue: Queue::new(),
            out: Out::default(),
            random: setting.seed,
            record: setting.recorded.then(Record::default),
        }
    }

    /// Virtual time.
    #[must_use]
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// What happened to node 0.
    pub fn recorded(&mut self) -> Vec<Recorded> {
        self.record.take().map(|record| record.inputs).unwrap_or_default()
    }

    /// One more node; it may want something at its start.
    pub fn add(&mut self, make: impl FnOnce(&mut Out<C::Timer>) -> C) {
        let at = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let node = make(&mut self.out);
        self.nodes.push(node);
        self.carry(at);
    }

    /// The host of a node wants something.
    pub fn with<R>(
        &mut self,
        node: u32,
        f: impl FnOnce(&mut C, u64, &mut Out<C::Timer>) -> R,
    ) -> R {
        let result = f(&mut self.nodes[node as usize], self.now, &mut self.out);
        self.carry(node);
        result
    }

    /// A node publishes; metered.
    pub fn publish(&mut self, node: u32, value: [u8; VALUE]) {
        let before = self.meter.map_or(0, |meter| meter());
        self.nodes[node as usize].publish(self.now, value, &mut self.out);
        self.counts.metered += self.meter.map_or(0, |meter| meter()) - before;
        self.carry(node);
    }

    fn carry(&mut self, from: u32) {
        for Send { to, buffer, len } in self.out.sends.drain(..) {
            self.counts.sent += 1;
            self.counts.bytes += u64::from(len);
            let random = splitmix(&mut self.random);
            if random >> 32 < self.loss {
                self.out.free.push(buffer);
                continue;
            }
            let delay = 200 + (((random & 0xffff_ffff) * 600) >> 32);
            self.queue.push(self.now + delay, (to, What::Datagram { from, buffer, len }));
        }
        for (at, timer) in self.out.timers.drain(..) {
            let number = match &mut self.record {
                Some(record) if from == 0 => {
                    record.timers += 1;
                    record.timers - 1
                }
                _ => 0,
            };
            self.queue.push(at.max(self.now), (from, What::Timer(timer, number)));
        }
    }

    /// The next thing that happens, unless it is after `end`: to whom.
    pub fn step(&mut self, end: u64) -> Option<u32> {
        let Some((at, (node, what))) = self.queue.pop(end) else {
            self.now = self.now.max(end);
            return None;
        };
        self.now = at;
        if self.out.free.len() < AHEAD {
            self.out.make_buffers();
        }
        if let Some(record) = self.record.as_mut().filter(|_| node == 0) {
            record.inputs.push(match &what {
                What::Timer(_, number) => Recorded::Timer(at, *number),
                What::Datagram { from, buffer, len } => {
                    Recorded::Datagram(at, *from, buffer[..*len as usize].to_vec())
                }
            });
        }
        let before = self.meter.map_or(0, |meter| meter());
        let target = &mut self.nodes[node as usize];
        match what {
            What::Datagram { from, buffer, len } => {
                target.datagram(at, from, &buffer[..len as usize], &mut self.out);
                self.out.free.push(buffer);
                self.counts.handled += 1;
            }
            What::Timer(timer, _) => {
                target.timer(at, timer, &mut self.out);
                self.counts.timers += 1;
            }
        }
        self.counts.metered += self.meter.map_or(0, |meter| meter()) - before;
        self.carry(node);
        Some(node)
    }

    /// Goes on for so many microseconds of virtual time.
    pub fn run_for(&mut self, span: u64) {
        let end = self.now + span;
        while self.step(end).is_some() {}
    }
}

/// The generator splitmix64.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
