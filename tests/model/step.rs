//! One step of one node, performed by the code of the core.
//!
//! A node of the model consists of its table. For each step, a real [`Node`] with this table is
//! created and gets a real input (a datagram, a tick, a command). Then its table is read back.
//! Results are cached per table and step.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use telemetry_gossip_core::{
    Config, DetectorFeatures, Generation, Identity, Input, Instance, Instant, Label, Mode, Node,
    NodeId, Status, SuspicionTimeout, WIRE_VERSION,
};

/// A claim. Claims are ordered by the member that they are about, and then by the merge rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Claim {
    pub(crate) about: u8,
    pub(crate) generation: u64,
    pub(crate) status: Status,
    pub(crate) instance: u32,
}

/// The state of a node between two steps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Local {
    pub(crate) me: u8,
    /// The number of restarts.
    pub(crate) restarts: u8,
    /// Whether the node asks members for their own word.
    pub(crate) asks: bool,
    /// The table, ordered by member.
    pub(crate) rows: Vec<Claim>,
}

/// An event that happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// The node receives a datagram with this claim.
    Hears(Claim),
    /// The node receives a datagram with this claim. If it asks the member, this is the answer.
    Asks { heard: Claim, answer: Claim },
    /// A probe of this member fails.
    Accuses(u8),
    /// The suspicion of this member runs out.
    Declares(u8),
    /// The process crashes and is restarted, knowing only itself. It starts with the next
    /// generation or with 0.
    Restarts { kept: bool },
    /// The node leaves.
    Leaves,
}

impl Local {
    pub(crate) fn row(&self, about: u8) -> Option<&Claim> {
        self.rows.iter().find(|row| row.about == about)
    }

    pub(crate) fn own(&self) -> &Claim {
        self.row(self.me).unwrap_or_else(|| panic!("n{} does not know itself", self.me))
    }

    /// Whether the node has not left.
    pub(crate) fn is_member(&self) -> bool {
        self.own().status != Status::Left
    }

    /// A node at its first start.
    pub(crate) fn first(me: u8, asks: bool) -> Self {
        let local = Self { me, restarts: 0, asks, rows: Vec::new() };
        local.with_rows(&start(me, 0, 0, asks))
    }

    /// This node with the table of `node`.
    fn with_rows(&self, node: &Node<u32>) -> Self {
        Self { rows: read(node), ..*self }
    }
}

thread_local! {
    static DONE: RefCell<HashMap<(Local, Event), Local>> = RefCell::default();
}

/// The state of a node after an event.
pub(crate) fn step(local: &Local, event: Event) -> Local {
    let key = (local.clone(), event);
    if let Some(known) = DONE.with_borrow(|done| done.get(&key).cloned()) {
        return known;
    }
    let after = run(local, event);
    DONE.with_borrow_mut(|done| done.insert(key, after.clone()));
    after
}

fn run(local: &Local, event: Event) -> Local {
    if let Event::Restarts { kept } = event {
        let restarts = local.restarts + 1;
        let generation = if kept { local.own().generation + 1 } else { 0 };
        let node = start(local.me, restarts, generation, local.asks);
        return Local { restarts, ..local.with_rows(&node) };
    }
    let mut node = restore(local);
    let status =
        |node: &Node<u32>, of: u8| node.member(id(of).as_str()).map(|member| member.status());
    match event {
        Event::Hears(claim) => drop(hear(&mut node, claim)),
        Event::Asks { heard, answer } => ask(&mut node, heard, answer),
        Event::Accuses(member) => {
            let probed = node.handle(node.now(), Input::Probe { id: id(member) });
            probed.unwrap_or_else(|error| panic!("the probe: {error}"));
            wait(&mut node, |node| status(node, member) != Some(Status::Alive));
        }
        Event::Declares(member) => {
            wait(&mut node, |node| status(node, member) != Some(Status::Suspected))
        }
        Event::Leaves => {
            node.handle(node.now(), Input::Leave)
                .unwrap_or_else(|error| panic!("the leave: {error}"));
        }
        Event::Restarts { .. } => {}
    }
    local.with_rows(&node)
}

/// Ticks the node until a condition holds. It gets no answers.
fn wait(node: &mut Node<u32>, until: impl Fn(&Node<u32>) -> bool) {
    while !until(node) {
        let at =
            node.poll_timeout().unwrap_or_else(|| panic!("{} has no deadline", node.me().id()));
        assert!(
            at < Instant::ORIGIN + Duration::from_secs(60),
            "the condition does not hold within a minute"
        );
        node.handle(at, Input::Tick).unwrap_or_else(|error| panic!("a tick: {error}"));
        drain(node);
    }
}

fn id(of: u8) -> NodeId {
    NodeId::new(&format!("n{of}")).unwrap_or_else(|error| panic!("n{of}: {error}"))
}

/// Starts a node that knows only itself.
fn start(me: u8, restarts: u8, generation: u64, asks: bool) -> Node<u32> {
    // Without roll calls and rechecks, which restrict when a member is accused: in the model it may
    // be accused at any time.
    let config = Config::default()
        .mode(if asks { Mode::Autonomous } else { Mode::OnDemand })
        .detector(DetectorFeatures::SWIM)
        .suspicion(SuspicionTimeout::Fixed(Duration::from_secs(1)));
    // The new instance of a node may be above or below its previous one.
    let instance = if me.is_multiple_of(2) { 10 + restarts } else { 10 - restarts };
    let identity = Identity::new(id(me), address(me))
        .generation(Generation(generation))
        .instance(Instance(instance.into()));
    Node::new(config, identity, [me; 32], Instant::ORIGIN).unwrap_or_else(|error| panic!("{error}"))
}

fn address(of: u8) -> u32 {
    u32::from(of) + 1
}

/// Creates a node with this table.
fn restore(local: &Local) -> Node<u32> {
    let highest = Generation::MAX_START.0;
    let own = local.own().generation;
    let mut node = start(local.me, local.restarts, own.min(highest), local.asks);
    // A node cannot start so high, and accepts only leaps of a limited size from there.
    while node.me().generation().0 < own {
        let generation = (own - 1).min(node.me().generation().0 + Generation::MAX_LEAP);
        hear(&mut node, Claim { status: Status::Suspected, generation, ..*local.own() });
    }
    for &row in local.rows.iter().filter(|row| row.about != local.me) {
        if local.asks {
            restore_answered(&mut node, row);
            continue;
        }
        let mut generation = row.generation.min(highest);
        while generation < row.generation {
            hear(&mut node, Claim { status: Status::Alive, generation, ..row });
            generation = row.generation.min(generation + Generation::MAX_LEAP);
        }
        hear(&mut node, row);
    }
    assert_eq!(local.with_rows(&node), *local, "the table was not restored");
    node
}

/// Makes the node hold this row of a member that has answered, or that is accused after it has.
fn restore_answered(node: &mut Node<u32>, row: Claim) {
    let said = row.generation - u64::from(row.status != Status::Alive && row.generation > 0);
    let introduced = said.min(Generation::MAX_START.0);
    let input = Input::Introduce {
        id: id(row.about),
        address: Some(address(row.about)),
        instance: Some(Instance(row.instance)),
        generation: Generation(introduced),
    };
    node.handle(node.now(), input).unwrap_or_else(|error| panic!("{row:?}: {error}"));
    drain(node);
    if said > introduced {
        let word = Claim { status: Status::Alive, generation: said, ..row };
        ask(node, word, word);
    }
    if row.status != Status::Alive {
        hear(node, row);
    }
}

/// Reads the table of a node.
fn read(node: &Node<u32>) -> Vec<Claim> {
    node.check_invariants().unwrap_or_else(|broken| panic!("{broken}"));
    let number =
        |id: &str| id[1..].parse().unwrap_or_else(|_| panic!("{id} is not a node of the model"));
    let mut rows: Vec<Claim> = node
        .members()
        .map(|member| Claim {
            about: number(member.id()),
            generation: member.generation().0,
            status: member.status(),
            instance: member.instance().0,
        })
        .collect();
    rows.sort_unstable();
    rows
}

/// The time after which a node asks again.
const ASKS_AGAIN: Duration = Duration::from_millis(600);

const PING: u8 = 1;
const CLAIMS: u8 = 5;
const SYNC_VERSIONS: u8 = 9;
const SYNC_DONE: u8 = 11;

/// The bytes before the frames of a datagram.
const HEADER: usize = 20;

/// Passes a datagram with this claim to the node, from an unknown sender. Returns the datagrams
/// that it sends.
fn hear(node: &mut Node<u32>, claim: Claim) -> Vec<(u32, Vec<u8>)> {
    receive(node, 99, &[(CLAIMS, body(claim))])
}

/// Passes a datagram with a claim to the node. If it opens a session with the member, the member
/// answers with what it says of itself.
fn ask(node: &mut Node<u32>, heard: Claim, answer: Claim) {
    let sent = hear(node, heard);
    let to_member = sent.iter().filter(|&&(to, _)| to == address(heard.about));
    let number = to_member
        .flat_map(|(_, bytes)| frames(bytes))
        .find_map(|(kind, body)| (kind == SYNC_VERSIONS).then(|| body[..4].to_vec()));
    if let Some(mut done) = number {
        // The member has no more to say.
        done.push(0);
        receive(node, address(heard.about), &[(CLAIMS, body(answer)), (SYNC_DONE, done)]);
    }
}

fn body(claim: Claim) -> Vec<u8> {
    let mut body = vec![claim.status as u8];
    varint(&mut body, claim.generation);
    body.extend(claim.instance.to_be_bytes());
    let id = id(claim.about);
    varint(&mut body, id.as_str().len() as u64);
    body.extend(id.as_str().bytes());
    body.push(4);
    body.extend(address(claim.about).to_be_bytes());
    // No accusers, and no age.
    body.extend([0, 0]);
    body
}

/// Passes a datagram with these frames to the node, some time after the one before.
fn receive(node: &mut Node<u32>, from: u32, frames: &[(u8, Vec<u8>)]) -> Vec<(u32, Vec<u8>)> {
    let mut bytes = vec![WIRE_VERSION];
    bytes.extend(Label::of("").0.to_be_bytes());
    bytes.extend([0; 15]);
    // A ping reaches the node as well: it refutes nothing before.
    let me = NodeId::new(node.me().id()).unwrap_or_else(|error| panic!("its id: {error}"));
    let ping = [[0; 4], me.id_hash().0.to_be_bytes()].concat();
    for (kind, body) in [(PING, ping)].iter().chain(frames) {
        bytes.push(*kind);
        varint(&mut bytes, body.len() as u64);
        bytes.extend(body);
    }
    let now = if from == 99 { node.now() + ASKS_AGAIN } else { node.now() };
    let heard = node.handle(now, Input::Datagram { from, bytes: bytes.into() });
    heard.unwrap_or_else(|error| panic!("{frames:?}: {error}"));
    drain(node)
}

/// The frames of a datagram, as (kind, body).
fn frames(bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let (mut frames, mut rest) = (Vec::new(), &bytes[HEADER..]);
    while let [kind, after @ ..] = rest {
        let (mut len, mut digits) = (0, 0);
        while after[digits] >= 0x80 {
            len |= usize::from(after[digits] & 0x7f) << (7 * digits);
            digits += 1;
        }
        len |= usize::from(after[digits]) << (7 * digits);
        let body = &after[digits + 1..];
        frames.push((*kind, &body[..len]));
        rest = &body[len..];
    }
    frames
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// The datagrams that the node sends now, as (to, bytes).
fn drain(node: &mut Node<u32>) -> Vec<(u32, Vec<u8>)> {
    while node.poll_event().is_some() {}
    let mut buf = [0; 1_400];
    std::iter::from_fn(|| {
        let sent = node.poll_transmit(&mut buf)?;
        Some((sent.to, buf[..sent.len].to_vec()))
    })
    .collect()
}
