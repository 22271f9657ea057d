//! One step of one node, made by the core's own code.
//!
//! A node of the model is its table. For each step a real [`Node`] is made that holds this table,
//! is given a real input (a datagram, a tick, a command), and what it holds then is read back. The
//! same step of the same table is not made twice.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use telemetry_gossip_core::{
    Config, DetectorFeatures, Generation, Identity, Input, Instance, Instant, Label, Mode, Node,
    NodeId, Status, SuspicionTimeout, WIRE_VERSION,
};

/// A claim, in the order of who it is about, and then of the merge rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Claim {
    pub(crate) about: u8,
    pub(crate) generation: u64,
    pub(crate) status: Status,
    pub(crate) instance: u32,
}

/// What there is of a node between two steps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Local {
    pub(crate) me: u8,
    /// How often it was started again.
    pub(crate) boots: u8,
    /// Its table, in order of member.
    pub(crate) rows: Vec<Claim>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// A datagram with this claim comes.
    Hears(Claim),
    /// A probe of this member fails.
    Accuses(u8),
    /// The time of the suspicion of this member is up.
    Declares(u8),
    /// The process dies and is started again, knowing only itself, with the next generation or from
    /// 0.
    Restarts {
        kept: bool,
    },
    Leaves,
}

impl Local {
    pub(crate) fn row(&self, about: u8) -> Option<&Claim> {
        self.rows.iter().find(|row| row.about == about)
    }

    pub(crate) fn own(&self) -> &Claim {
        self.row(self.me).unwrap_or_else(|| panic!("n{} does not know itself", self.me))
    }

    /// Whether it still takes part.
    pub(crate) fn is_member(&self) -> bool {
        self.own().status != Status::Left
    }

    /// A node that was never started before.
    pub(crate) fn first(me: u8) -> Self {
        read(&boot(me, 0, 0), 0)
    }
}

thread_local! {
    static DONE: RefCell<HashMap<(Local, Event), Local>> = RefCell::default();
}

/// What the node is after this event.
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
        let boots = local.boots + 1;
        let generation = if kept { local.own().generation + 1 } else { 0 };
        return read(&boot(local.me, boots, generation), boots);
    }
    let mut node = wake(local);
    let status =
        |node: &Node<u32>, of: u8| node.member(id(of).as_str()).map(|member| member.status());
    match event {
        Event::Hears(claim) => hear(&mut node, &[claim]),
        Event::Accuses(whom) => {
            let asked = node.handle(node.now(), Input::Probe { id: id(whom) });
            asked.unwrap_or_else(|error| panic!("the probe: {error}"));
            wait(&mut node, |node| status(node, whom) != Some(Status::Alive));
        }
        Event::Declares(whom) => {
            wait(&mut node, |node| status(node, whom) != Some(Status::Suspected))
        }
        Event::Leaves => {
            node.handle(node.now(), Input::Leave)
                .unwrap_or_else(|error| panic!("the leave: {error}"));
        }
        Event::Restarts { .. } => {}
    }
    read(&node, local.boots)
}

/// Ticks until it is so. Nobody answers, so what is asked is silence.
fn wait(node: &mut Node<u32>, until: impl Fn(&Node<u32>) -> bool) {
    while !until(node) {
        let at =
            node.poll_timeout().unwrap_or_else(|| panic!("{} waits for nothing", node.me().id()));
        assert!(at < Instant::ORIGIN + Duration::from_secs(60), "it takes too long");
        node.handle(at, Input::Tick).unwrap_or_else(|error| panic!("a tick: {error}"));
        drain(node);
    }
}

fn id(of: u8) -> NodeId {
    NodeId::new(&format!("n{of}")).unwrap_or_else(|error| panic!("n{of}: {error}"))
}

fn boot(me: u8, boots: u8, generation: u64) -> Node<u32> {
    // Roll calls, rechecks and the like decide whether and when a member is accused: any time is
    // possible here.
    let config = Config::default()
        .mode(Mode::OnDemand)
        .detector(DetectorFeatures::SWIM)
        .suspicion(SuspicionTimeout::Fixed(Duration::from_secs(1)));
    // A life's instance may be above that of the one before, or below.
    let instance = if me.is_multiple_of(2) { 10 + boots } else { 10 - boots };
    let identity = Identity::new(id(me), address(me))
        .generation(Generation(generation))
        .instance(Instance(instance.into()));
    Node::new(config, identity, [me; 32], Instant::ORIGIN).unwrap_or_else(|error| panic!("{error}"))
}

fn address(of: u8) -> u32 {
    u32::from(of) + 1
}

/// A node that holds just this.
fn wake(local: &Local) -> Node<u32> {
    let start = Generation::PLAUSIBLE_START.0;
    let mut node = boot(local.me, local.boots, local.own().generation.min(start));
    for &row in &local.rows {
        if row.generation > start {
            // Nobody starts there, and nobody believes every leap to there: the first is as far as
            // anybody does.
            let generation = (row.generation - 1).min(start + Generation::PLAUSIBLE_LEAP);
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
    assert_eq!(read(&node, local.boots), *local, "what was made is not what it should be");
    node
}

fn read(node: &Node<u32>, boots: u8) -> Local {
    node.check_invariants().unwrap_or_else(|broken| panic!("{broken}"));
    let number =
        |id: &str| id[1..].parse().unwrap_or_else(|_| panic!("{id} is none of these nodes"));
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
    Local { me: number(node.me().id()), boots, rows }
}

/// A datagram with these claims, from somebody whom nobody knows.
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
        // Neither accusers nor an age.
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
