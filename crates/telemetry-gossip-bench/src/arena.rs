//! An arena: nodes of one library, a network and virtual time.

use std::fmt::Debug;

use crate::queue::Queue;

/// One node of a library. Times are in microseconds.
pub trait Contender {
    /// The payload of a timer.
    type Timer: Debug;
    /// Handles a datagram.
    fn datagram(&mut self, now: u64, from: u32, bytes: &[u8], out: &mut Out<Self::Timer>);
    /// Handles a timer that it has set.
    fn timer(&mut self, now: u64, timer: Self::Timer, out: &mut Out<Self::Timer>);
    /// Returns the number of live members that it knows, itself included.
    fn live(&self) -> usize;
    /// Publishes a value to all nodes.
    fn publish(&mut self, now: u64, value: [u8; VALUE], out: &mut Out<Self::Timer>);
    /// Makes [`heard`](Self::heard) wait for the next value of this node.
    fn watch(&mut self, origin: u32);
    /// Returns whether the awaited value has arrived.
    fn heard(&self) -> bool;
    /// Returns the number of new values of other nodes so far.
    fn accepted(&self) -> u64;
}

/// Bytes of a published value.
pub const VALUE: usize = 64;

/// The most bytes of a datagram.
pub const MTU: usize = 1_400;

/// A buffer for one payload. Buffers are used again, so that the arena does not allocate.
type Buffer = Box<[u8; MTU]>;

/// The outputs of a node: datagrams and timers.
#[derive(Debug)]
pub struct Out<T> {
    sends: Vec<Send>,
    timers: Vec<(u64, T)>,
    free: Vec<Buffer>,
}

/// A datagram to send.
#[derive(Debug)]
struct Send {
    to: u32,
    buffer: Buffer,
    len: u32,
}

/// The number of datagrams that a node can send at once without an allocation.
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

    /// Sends the datagram that `write` puts into the buffer, and returns whether there was one.
    /// `write` returns the destination and the length.
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

    /// Passes each datagram and its destination to `each`, and removes it.
    pub fn drain_sends(&mut self, mut each: impl FnMut(u32, &[u8])) {
        for send in self.sends.drain(..) {
            each(send.to, &send.buffer[..send.len as usize]);
            self.free.push(send.buffer);
        }
    }

    /// Returns the total bytes of the datagrams to send.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.sends.iter().map(|send| send.len as usize).sum()
    }

    /// Removes and returns the timers.
    pub fn drain_timers(&mut self) -> impl Iterator<Item = (u64, T)> {
        self.timers.drain(..)
    }
}

#[derive(Debug)]
enum What<T> {
    Datagram { from: u32, buffer: Buffer, len: u32 },
    Timer(T, u32),
}

/// One recorded input of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// A datagram: time, sender and bytes.
    Datagram(u64, u32, Vec<u8>),
    /// A timer: time, and its number among the timers of the node.
    Timer(u64, u32),
}

#[derive(Debug, Default)]
struct Record {
    timers: u32,
    inputs: Vec<Recorded>,
}

/// The counts of an arena.
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
    /// The sum of the meter over all calls of nodes.
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

/// The size of a cluster, its seed and its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The number of nodes.
    pub nodes: u32,
    /// The seed of all random choices.
    pub seed: u64,
    /// The percentage of datagrams lost.
    pub loss_percent: u32,
    /// Records the inputs of node 0.
    pub recorded: bool,
}

impl Setting {
    /// Makes a setting with a lossless network and without a record.
    #[must_use]
    pub const fn new(nodes: u32, seed: u64) -> Self {
        Self { nodes, seed, loss_percent: 0, recorded: false }
    }
}

/// Nodes, network and virtual time of one run. The network is a LAN with a latency of 0.2 to 0.8
/// ms, uniformly distributed.
#[derive(Debug)]
pub struct Arena<C: Contender> {
    /// The nodes. The address of a node follows from its index.
    pub nodes: Vec<C>,
    /// The counts so far.
    pub counts: Counts,
    /// A counter that is read before and after each call of a node. The differences are added up.
    pub meter: Option<fn() -> u64>,
    /// The share of datagrams lost, in units of 2^-32.
    loss: u64,
    now: u64,
    queue: Queue<(u32, What<C::Timer>)>,
    out: Out<C::Timer>,
    random: u64,
    record: Option<Record>,
}

impl<C: Contender> Arena<C> {
    /// Makes an empty arena.
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

    /// Returns the virtual time.
    #[must_use]
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// Removes and returns the recorded inputs of node 0.
    pub fn recorded(&mut self) -> Vec<Recorded> {
        self.record.take().map(|record| record.inputs).unwrap_or_default()
    }

    /// Adds a node. Its constructor may send datagrams and set timers.
    pub fn add(&mut self, make: impl FnOnce(&mut Out<C::Timer>) -> C) {
        let at = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let node = make(&mut self.out);
        self.nodes.push(node);
        self.carry(at);
    }

    /// Calls a node as its host does.
    pub fn with<R>(
        &mut self,
        node: u32,
        f: impl FnOnce(&mut C, u64, &mut Out<C::Timer>) -> R,
    ) -> R {
        let result = f(&mut self.nodes[node as usize], self.now, &mut self.out);
        self.carry(node);
        result
    }

    /// Lets a node publish a value. The call is metered.
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

    /// Delivers the next datagram or timer, unless it is due after `end`. Returns the index of the
    /// node.
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

    /// Runs for this many microseconds of virtual time.
    pub fn run_for(&mut self, span: u64) {
        let end = self.now + span;
        while self.step(end).is_some() {}
    }
}

/// Returns the next number of the generator splitmix64.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
