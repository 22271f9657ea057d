//! One node, with the rules that hold after every input.
//!
//! After each input both polls are drained, as by a host. Then the node's own invariants hold, no
//! datagram exceeds the MTU, table and heap are bounded, a datagram costs no more than it may
//! ([`Cost::check`]), the events add up to the table, generations never decrease, Dead becomes
//! Alive only at a higher generation, and after a tick the next deadline is in the future.

use std::collections::BTreeMap;

use serde::Serialize;
use telemetry_gossip_core::{
    Address, Config, Event, Generation, Health, Identity, Input, InputError, Instant, Node, NodeId,
    Status, work,
};

use crate::cost::Cost;
use crate::wire;

/// The most bytes that a node may send to an unproven address, per byte received from it.
pub const AMPLIFICATION: usize = 3;

/// A node and the checks of its rules.
#[derive(Debug)]
pub struct Watched<A> {
    /// The node. Give it inputs through [`Watched::handle`] only.
    pub node: Node<A>,
    /// The datagrams that it has sent since this was last cleared.
    pub sent: Vec<(A, Vec<u8>)>,
    /// The events that it has emitted since this was last cleared.
    pub events: Vec<Event<A>>,
    view: BTreeMap<NodeId, Seen<A>>,
    buf: Vec<u8>,
    heap_limit: usize,
}

/// The parts of a node's state that are cheap to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    table: u64,
    members: usize,
    due: Option<Instant>,
    health: Health,
    heap: usize,
}

impl Standing {
    /// Reads them from a node.
    #[must_use]
    pub fn of<A: Address>(node: &Node<A>) -> Self {
        let table = node.membership();
        Self {
            table: table.fingerprint(),
            members: table.len(),
            due: node.poll_timeout(),
            health: node.health(),
            heap: node.heap_bytes(),
        }
    }

    /// Whether nothing has changed since `before`, except for the memory in which the node counts
    /// what it drops and keeps the event of it, which it takes with the first of each reason.
    #[must_use]
    pub fn is_as(&self, before: &Self) -> bool {
        const DROPS_HEAP: usize = 4_096;
        let grown = self.heap.checked_sub(before.heap);
        Self { heap: before.heap, ..*self } == *before && grown.is_some_and(|it| it <= DROPS_HEAP)
    }
}

/// Returns the state of a drained node as bytes, except its counters and what it counts of drops.
///
/// # Panics
/// If there is no snapshot, or it does not end with the counters.
#[must_use]
pub fn state<A: Address + Serialize>(node: &Node<A>) -> Vec<u8> {
    let mut state = node.snapshot().expect("a drained node has a snapshot");
    let counters = (node.drops(), node.stats());
    let counters = postcard::to_stdvec(&counters).expect("counters are numbers");
    assert!(state.ends_with(&counters), "the snapshot does not end with the counters");
    state.truncate(state.len() - counters.len());
    state
}

/// Whether the host was told of nothing but what was dropped.
#[must_use]
pub fn only_drops<A>(events: &[Event<A>]) -> bool {
    events.iter().all(|event| matches!(event, Event::Dropped { .. }))
}

/// Returns the number of datagrams refused so far.
#[must_use]
pub fn refusals<A: Address>(node: &Node<A>) -> u64 {
    let stats = node.stats();
    stats.datagrams_malformed + stats.datagrams_other_label + stats.datagrams_other_version
}

/// The state of a member according to the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen<A> {
    status: Status,
    generation: Generation,
    /// The address; `None` for a member first heard of as dead, whose address is in no event.
    address: Option<Option<A>>,
}

impl<A: Address> Watched<A> {
    /// Starts a node.
    ///
    /// # Panics
    /// If the settings are invalid, or a rule is broken.
    #[must_use]
    pub fn new(config: Config, identity: Identity<A>, seed: [u8; 32], now: Instant) -> Self {
        let buf = vec![0; config.mtu.into()];
        // Per member a row with the longest id and address, its entries in index and queue, and its
        // telemetry, for which a vector may reserve twice the bytes. Then the fixed part, mostly
        // the outbox.
        let row = 1_024 + 2 * config.max_telemetry as usize;
        let heap_limit = config.max_members as usize * row + 512 * 1_024;
        let node = Node::new(config, identity, seed, now).expect("the settings are valid");
        let mut watched = Self {
            node,
            sent: Vec::new(),
            events: Vec::new(),
            view: BTreeMap::new(),
            buf,
            heap_limit,
        };
        watched.drain();
        watched.check();
        watched
    }

    /// Handles one input, drains the node and checks its rules.
    ///
    /// # Panics
    /// If a rule is broken.
    pub fn handle(&mut self, now: Instant, input: Input<'_, A>) -> Result<(), InputError> {
        let tick = matches!(input, Input::Tick);
        let received = match &input {
            Input::Datagram { bytes, .. } => Some(bytes.len() as u64),
            _ => None,
        };
        let (before, heap) = (*self.node.stats(), self.node.heap_bytes());
        let (steps, result) = work::steps_of(|| {
            let result = self.node.handle(now, input);
            self.drain();
            result
        });
        self.check();
        if let Some(received) = received {
            let (node, after) = (&self.node, self.node.stats());
            let cost = Cost {
                received,
                sent: after.bytes_sent - before.bytes_sent,
                // The targets know which addresses have proved themselves.
                to_stranger: 0,
                rows: after.rows_visited - before.rows_visited,
                steps,
                growth: node.heap_bytes().saturating_sub(heap) as u64,
                members: node.membership().len() as u64,
                mtu: node.config().mtu.into(),
            };
            assert_eq!(cost.check(), Ok(()));
        }
        if tick {
            let (next, now) = (self.node.poll_timeout(), self.node.now());
            assert!(
                next.is_none_or(|next| next > now),
                "S15: after a tick at {now} the next deadline is {next:?}"
            );
        }
        result
    }

    /// Drains a twin that has received the same inputs, and compares its output with that of the
    /// node.
    ///
    /// # Panics
    /// If they differ.
    pub fn compare(&mut self, twin: &mut Node<A>) {
        for (to, bytes) in &self.sent {
            let sent =
                twin.poll_transmit(&mut self.buf).map(|sent| (sent.to, &self.buf[..sent.len]));
            assert_eq!(sent, Some((*to, &bytes[..])), "the twin sends another datagram");
        }
        assert_eq!(twin.poll_transmit(&mut self.buf), None, "the twin sends more datagrams");
        for event in &self.events {
            assert_eq!(twin.poll_event().as_ref(), Some(event), "the twin emits another event");
        }
        assert_eq!(twin.poll_event(), None, "the twin emits more events");
        assert_eq!(twin.poll_timeout(), self.node.poll_timeout(), "the twin has another deadline");
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.node.poll_transmit(&mut self.buf) {
            let (len, mtu) = (transmit.len, self.buf.len());
            assert!((wire::HEADER_LEN + 1..=mtu).contains(&len), "S13: a datagram of {len} bytes");
            self.sent.push((transmit.to, self.buf[..len].to_vec()));
        }
        while let Some(event) = self.node.poll_event() {
            self.fold(&event);
            self.events.push(event);
        }
    }

    fn fold(&mut self, event: &Event<A>) {
        let (id, status, generation) = match *event {
            Event::Joined { id, address, generation, .. } => {
                let seen = Seen { status: Status::Alive, generation, address: Some(address) };
                assert!(self.view.insert(id, seen).is_none(), "S18: {id} joined twice");
                return;
            }
            Event::Moved { id, address, .. } => {
                if let Some(seen) = self.view.get_mut(&id) {
                    seen.address = Some(address);
                }
                return;
            }
            Event::Removed { id, .. } => {
                assert!(self.view.remove(&id).is_some(), "S18: {id} was removed but never joined");
                return;
            }
            Event::Alive { id, generation, .. } => (id, Status::Alive, generation),
            Event::Suspected { id, generation, .. } => (id, Status::Suspected, generation),
            Event::Dead { id, generation, .. } => (id, Status::Dead, generation),
            Event::Left { id, generation, .. } => (id, Status::Left, generation),
            _ => return,
        };
        let Some(seen) = self.view.get_mut(&id) else {
            assert!(!status.is_live(), "S18: {id} is {status} but never joined");
            self.view.insert(id, Seen { status, generation, address: None });
            return;
        };
        let was = (seen.status, seen.generation);
        assert!(
            generation >= was.1,
            "S3: the generation of {id} falls from {} to {generation}",
            was.1
        );
        if generation == was.1 {
            assert!(
                status >= was.0,
                "S7, S8: {id} changes from {} to {status} at generation {generation}",
                was.0
            );
        }
        (seen.status, seen.generation) = (status, generation);
    }

    fn check(&self) {
        let node = &self.node;
        assert_eq!(node.check_invariants(), Ok(()));
        let mut members = 0;
        for member in node.members() {
            members += 1;
            let seen = NodeId::new(member.id()).ok().and_then(|id| self.view.get(&id));
            let Some(seen) = seen else { panic!("S18: there was no event about {}", member.id()) };
            let found = (member.status(), member.generation());
            assert_eq!(
                found,
                (seen.status, seen.generation),
                "S18: the events differ from the table about {}",
                member.id()
            );
            if let Some(address) = seen.address {
                assert_eq!(
                    member.address(),
                    address,
                    "S18: the events differ from the table about {}",
                    member.id()
                );
            }
        }
        assert_eq!(members, self.view.len(), "S18: the events know more members than the table");
        let limit = node.config().max_members as usize;
        assert!(members <= limit, "S14: {members} members of at most {limit}");
        let heap = node.heap_bytes();
        assert!(
            heap <= self.heap_limit,
            "S14: {heap} bytes on the heap of at most {}",
            self.heap_limit
        );
        if node.health().active {
            assert!(
                node.me().status() == Status::Alive || node.me().status() == Status::Left,
                "S6"
            );
        }
    }
}
