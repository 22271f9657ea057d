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
    /// The table, ordered by member.
    pub(crate) rows: Vec<Claim>,
}

/// An event that happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// The node receives a datagram with this claim.
    Hears(Claim),
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
    pub(crate) fn first(me: u8) -> Self {
        read(&start(me, 0, 0), 0)
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
        return read(&start(local.me, restarts, generation), restarts);
    }
    let mut node = restore(local);
    let status =
        |node: &Node<u32>, of: u8| node.member(id(of).as_str()).map(|member| member.status());
    match event {
        Event::Hears(claim) => hear(&mut node, &[claim]),
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
    read(&node, local.restarts)
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
fn start(me: u8, restarts: u8, generation: u64) -> Node<u32> {
    // Without roll calls and rechecks, which restrict when a member is accused: in the model it may
    // be accused at any time.
    let config = Config::default()
        .mode(Mode::OnDemand)
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
    let mut node = start(local.me, local.restarts, local.own().generation.min(highest));
    for &row in &local.rows {
        if row.generation > highest {
            // A node cannot start so high, and accepts only leaps of a limited size from there.
            let generation = (row.generation - 1).min(highest);
            hear(&mut node, &[Claim { status: Status::Alive, generation, ..row }]);
        }
        if row.about != local.me {
            hear(&mut node, &[row]);
        } else if node.me().generation().0 < row.generation {
            hear(
                &mut node,
                &[Claim { status: Status::Suspected, generation: row.generation - 1, ..row }],
            );
        }
    }
    assert_eq!(read(&node, local.restarts), *local, "the table was not restored");
    node
}

/// Reads the table of a node.
fn read(node: &Node<u32>, restarts: u8) -> Local {
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
    Local { me: number(node.me().id()), restarts, rows }
}

/// Passes a datagram with these claims to the node, from an unknown sender.
fn hear(node: &mut Node<u32>, claims: &[Claim]) {
    let mut bytes = vec![WIRE_VERSION];
    bytes.extend(Label::of("").0.to_be_bytes());
    bytes.extend([0; 15]);
    let mut body = Vec::new();
    for claim in claims {
        body.push(claim.status as u8);
        varint(&mut body, claim.generation);
        body.extend(claim.instance.to_be_bytes());
        let id = id(claim.about);
        varint(&mut body, id.as_str().len() as u64);
        body.extend(id.as_str().bytes());
        body.push(4);
        body.extend(address(claim.about).to_be_bytes());
        // No accusers, and no age.
        body.extend([0, 0]);
    }
    bytes.push(5);
    varint(&mut bytes, body.len() as u64);
    bytes.extend(body);
    let heard = node.handle(node.now(), Input::Datagram { from: 99, bytes: bytes.into() });
    heard.unwrap_or_else(|error| panic!("{claims:?}: {error}"));
    drain(node);
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn drain(node: &mut Node<u32>) {
    while node.poll_transmit(&mut [0; 1_400]).is_some() {}
    while node.poll_event().is_some() {}
}
