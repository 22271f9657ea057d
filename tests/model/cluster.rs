//! The model: three nodes, all claims that were ever made, and all possible next steps.

use std::fmt;

use stateright::{Model, Property};
use telemetry_gossip_core::{Generation, Status};

use crate::step::{Claim, Event, Local, step};

pub(crate) const NODES: usize = 3;

/// The most rounds of delivering all claims to all nodes until nothing changes.
const MAX_ROUNDS: usize = 20;

/// The bounds of the model, and the planted bug.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cluster {
    /// The number of probes that fail, of any node by any node.
    pub(crate) accusations: u8,
    /// The number of processes that crash and are restarted.
    pub(crate) restarts: u8,
    /// The number of nodes that leave.
    pub(crate) leaves: u8,
    /// Whether the nodes know each other from the start.
    pub(crate) joined: bool,
    /// Whether the nodes ask members for their own word, as they do unless a host names each
    /// exchange itself. Then all accusations are lies.
    pub(crate) asks: bool,
    /// The claims of a liar, about n0.
    pub(crate) lies: &'static [Lie],
    /// A mistake that all nodes make.
    pub(crate) bug: Option<Bug>,
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accusations, restarts, leaves, .. } = self;
        f.write_str(if self.joined { "joined" } else { "strangers" })?;
        for (count, what) in [(accusations, "accusation"), (restarts, "restart"), (leaves, "leave")]
        {
            match count {
                0 => {}
                1 => write!(f, ", 1 {what}")?,
                _ => write!(f, ", {count} {what}s")?,
            }
        }
        f.write_str(if self.asks { ", asking" } else { "" })?;
        self.lies.iter().try_for_each(|Lie { status, generation, instance }| {
            write!(f, ", a lie: n0 is {status} at {generation}, instance {instance}")
        })
    }
}

/// A false claim about n0. The instance of n0 is 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lie {
    pub(crate) status: Status,
    pub(crate) generation: u64,
    pub(crate) instance: u32,
}

/// A mistake that the nodes make in addition to the behaviour of the core, to prove that the checks
/// find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A node keeps the claim that it received last.
    LastWins,
    /// At one generation, Alive wins.
    AliveWinsTies,
    /// A node accepts accusations of itself.
    BelievesOthers,
    /// A node refutes an accusation at the same generation.
    RefutesTooLow,
    /// A node refutes accusations of other nodes.
    VouchesForOthers,
    /// A node does not refute the highest accusation that others believe.
    RefutesLess,
    /// A node believes any claim about another, up to the end of the range.
    BelievesLeaps,
    /// A node believes an Alive beyond the highest start at second hand, if it leaps little.
    BelievesLadders,
}

/// A state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) nodes: [Local; NODES],
    /// All claims that any node ever held, in order. The network may deliver each of them to any
    /// node, now, later, repeatedly or never.
    pub(crate) said: Vec<Claim>,
    accusations: u8,
    restarts: u8,
    leaves: u8,
    /// The rules that the last step broke.
    broken: [bool; STEP_RULES.len()],
}

/// Which claims are delivered so that the nodes converge, and in which order.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// All that were ever made.
    Forwards,
    /// The same, the highest first.
    Backwards,
    /// Those that a node holds. What was replaced is never heard again.
    Held,
}

/// A node, and the event that happens to it.
pub(crate) type Action = (usize, Event);

/// The rules that are checked at each step. The position of a rule is its index in
/// [`State::broken`].
const STEP_RULES: [&str; 6] = [GENERATION, RESURRECTION, ISSUER, ITSELF, REFUTATION, GREATER];

pub(crate) const GENERATION: &str = "a row's generation never falls";
pub(crate) const RESURRECTION: &str = "Dead and Left become live only at a higher generation";
pub(crate) const ISSUER: &str = "only the owner issues Alive";
pub(crate) const ITSELF: &str = "a node never holds itself Suspected or Dead";
pub(crate) const REFUTATION: &str = "an accused node claims Alive above the accusation";
pub(crate) const GREATER: &str = "of the held and the received claim the greater is kept";
pub(crate) const CONVERGENCE: &str =
    "once all claims are delivered, all tables are equal and hold every node Alive";

impl State {
    /// The nodes that have not left.
    fn members(&self) -> impl Iterator<Item = &Local> {
        self.nodes.iter().filter(|node| node.is_member())
    }
}

impl Cluster {
    /// The state after an event at a node, with the rules that the step broke.
    fn after(&self, state: &State, node: usize, event: Event) -> State {
        let old = &state.nodes[node];
        let new = self.twisted(old, event, step(old, event));
        let mut next = state.clone();
        next.broken = broken(state, old, event, &new);
        for &claim in &new.rows {
            if let Err(at) = next.said.binary_search(&claim) {
                next.said.insert(at, claim);
            }
        }
        next.nodes[node] = new;
        next
    }

    /// The event that this claim reaches a node.
    fn hears(&self, state: &State, node: usize, heard: Claim) -> Event {
        let member = &state.nodes[usize::from(heard.about)];
        if self.asks && member.me != state.nodes[node].me && member.is_member() {
            Event::Asks { heard, answer: *member.own() }
        } else {
            Event::Hears(heard)
        }
    }

    /// Delivers claims, including new ones, to all nodes until nothing changes.
    fn settled(&self, state: &State, order: Order) -> Option<State> {
        let mut state = state.clone();
        for _ in 0..MAX_ROUNDS {
            let (before, mut said) = (state.clone(), state.said.clone());
            match order {
                Order::Forwards => {}
                Order::Backwards => said.reverse(),
                Order::Held => {
                    said = state.members().flat_map(|node| node.rows.clone()).collect();
                    said.sort_unstable();
                    said.dedup();
                }
            }
            for claim in said {
                for node in 0..NODES {
                    if state.nodes[node].is_member() {
                        let event = self.hears(&state, node, claim);
                        state = self.after(&state, node, event);
                        if state.broken.contains(&true) {
                            return None;
                        }
                    }
                }
            }
            if state.nodes == before.nodes && state.said == before.said {
                return Some(state);
            }
        }
        None
    }

    /// A lie may reach some nodes only, once. Nodes that do not ask a member for its word need the
    /// lie to believe what the member says to it.
    fn orders(&self) -> &'static [Order] {
        let all = &[Order::Forwards, Order::Backwards, Order::Held];
        if self.asks { all } else { &all[..2] }
    }

    fn converges(&self, state: &State) -> bool {
        // A state after a broken rule is not explored further.
        state.broken.contains(&true)
            || self.orders().iter().all(|&order| {
                self.settled(state, order).is_some_and(|end| {
                    let mut members = end.members();
                    let alive = |of: &Local, at: &Local| {
                        at.row(of.me).is_some_and(|row| row.status == Status::Alive)
                    };
                    let first = members.next().map(|node| node.rows.clone());
                    members.all(|node| Some(&node.rows) == first.as_ref())
                        && end.members().all(|at| end.members().all(|of| alive(of, at)))
                })
            })
    }

    /// Applies the planted bug to the result of a step.
    fn twisted(&self, old: &Local, event: Event, right: Local) -> Local {
        let (Some(bug), Event::Hears(claim) | Event::Asks { heard: claim, .. }) = (self.bug, event)
        else {
            return right;
        };
        let mut new = right.clone();
        let about_me = claim.about == old.me;
        let Some(row) = new.rows.iter_mut().find(|row| row.about == claim.about) else {
            return right;
        };
        let Some(held) = old.row(claim.about) else { return right };
        let accusation = claim.status == Status::Suspected || claim.status == Status::Dead;
        match bug {
            Bug::LastWins if !about_me => *row = claim,
            Bug::AliveWinsTies if !about_me && claim.generation == held.generation => {
                if claim.status == Status::Alive || held.status == Status::Alive {
                    row.status = Status::Alive;
                }
            }
            Bug::BelievesOthers
                if about_me && accusation && claim.generation >= held.generation =>
            {
                *row = claim
            }
            Bug::RefutesTooLow if about_me && row.generation > held.generation && accusation => {
                row.generation = claim.generation;
            }
            Bug::VouchesForOthers
                if !about_me && accusation && row.generation > held.generation =>
            {
                (row.status, row.generation) = (Status::Alive, row.generation + 1);
            }
            Bug::RefutesLess if about_me && claim.generation == highest_believed(old) => {
                return old.clone();
            }
            Bug::BelievesLeaps if !about_me && claim.generation > held.generation => *row = claim,
            Bug::BelievesLadders
                if !about_me
                    && claim.instance == held.instance
                    && claim.generation > held.generation
                    && claim.generation - held.generation <= Generation::MAX_LEAP =>
            {
                *row = claim;
            }
            _ => return right,
        }
        new
    }
}

/// The highest generation at which a node, wherever its own generation is, must refute a claim.
/// Where members are asked, others may hold an accusation one above the highest start.
fn highest_believed(of: &Local) -> u64 {
    Generation::MAX_START.0 + u64::from(of.asks)
}

/// The rules that a step breaks. This is independent of the code of the core: the generation
/// decides, then the status.
fn broken(state: &State, old: &Local, event: Event, new: &Local) -> [bool; STEP_RULES.len()] {
    let rank = |claim: &Claim| (claim.generation, claim.status);
    let gone = |claim: &Claim| matches!(claim.status, Status::Dead | Status::Left);
    let restarts = matches!(event, Event::Restarts { .. });
    // A process loses its rows when it restarts.
    let rows = || old.rows.iter().filter(|_| !restarts).map(|held| (held, new.row(held.about)));
    let falls = rows().any(|(held, row)| row.is_none_or(|row| row.generation < held.generation));
    let resurrects = rows().any(|(held, row)| {
        gone(held) && row.is_some_and(|row| !gone(row) && row.generation <= held.generation)
    });
    let issues =
        new.rows.iter().filter(|claim| claim.about != new.me && !state.said.contains(claim)).any(
            |claim| {
                let held = old.row(claim.about).map(|row| row.generation);
                let accuses = claim.status == Status::Suspected
                    && held.is_some_and(|held| claim.generation == held + 1);
                let declares = claim.status == Status::Dead && held == Some(claim.generation);
                !accuses && !declares
            },
        );
    let itself = new.is_member() && new.own().status != Status::Alive;
    let (mut yields, mut lesser) = (false, false);
    if let Event::Hears(claim) | Event::Asks { heard: claim, .. } = event {
        let held = old.row(claim.about);
        if claim.about == new.me {
            let accused =
                claim.status != Status::Alive && held.is_some_and(|held| rank(&claim) > rank(held));
            // A node may refuse an accusation that is so far ahead that no other node believes it.
            // The check of convergence shows that no other node does.
            let far = claim.generation > highest_believed(old)
                && claim.generation > old.own().generation + Generation::MAX_LEAP;
            yields = accused
                && new.own().generation <= claim.generation
                && !(far && new.own() == old.own());
        } else {
            let answer = match event {
                Event::Asks { answer, .. } => Some(answer),
                _ => None,
            };
            let most = held.map_or(rank(&claim), |held| rank(held).max(rank(&claim)));
            let kept = new.row(claim.about);
            // A node may refuse a claim, if it asks the member instead, or if it is too far ahead.
            let refused = (old.asks || claim.generation > Generation::MAX_START.0)
                && (kept == held || kept == answer.as_ref());
            lesser = kept.map(rank) != Some(most) && !refused;
        }
    }
    [falls, resurrects, issues, itself, yields, lesser]
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let nodes = [0, 1, 2].map(|me| Local::first(me, self.asks));
        let mut said: Vec<Claim> = nodes.iter().flat_map(|node| node.rows.clone()).collect();
        let Self { accusations, restarts, leaves, .. } = *self;
        said.sort_unstable();
        let mut state =
            State { nodes, said, accusations, restarts, leaves, broken: Default::default() };
        if self.joined {
            for (node, other) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
                let alive = *state.nodes[other].own();
                state.nodes[node].rows.push(alive);
                state.nodes[node].rows.sort_unstable();
            }
        }
        for &Lie { status, generation, instance } in self.lies {
            state.said.push(Claim { about: 0, generation, status, instance });
        }
        state.said.sort_unstable();
        state.said.dedup();
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.contains(&true) {
            return;
        }
        for (at, node) in state.nodes.iter().enumerate() {
            if state.restarts > 0 {
                actions.extend([false, true].map(|kept| (at, Event::Restarts { kept })));
            }
            if !node.is_member() {
                continue;
            }
            actions.extend(state.said.iter().map(|&claim| (at, self.hears(state, at, claim))));
            if state.leaves > 0 {
                actions.push((at, Event::Leaves));
            }
            for row in node.rows.iter().filter(|row| row.about != node.me) {
                match row.status {
                    Status::Alive if state.accusations > 0 => {
                        actions.push((at, Event::Accuses(row.about)))
                    }
                    Status::Suspected if !self.asks => {
                        actions.push((at, Event::Declares(row.about)))
                    }
                    _ => {}
                }
            }
        }
    }

    fn next_state(&self, state: &State, (node, event): Action) -> Option<State> {
        let mut next = self.after(state, node, event);
        match event {
            Event::Accuses(_) => next.accusations -= 1,
            Event::Restarts { .. } => next.restarts -= 1,
            Event::Leaves => next.leaves -= 1,
            Event::Hears(_) | Event::Asks { .. } | Event::Declares(_) => {}
        }
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(STEP_RULES[0], |_, state: &State| !state.broken[0]),
            Property::always(STEP_RULES[1], |_, state: &State| !state.broken[1]),
            Property::always(STEP_RULES[2], |_, state: &State| !state.broken[2]),
            Property::always(STEP_RULES[3], |_, state: &State| !state.broken[3]),
            Property::always(STEP_RULES[4], |_, state: &State| !state.broken[4]),
            Property::always(STEP_RULES[5], |_, state: &State| !state.broken[5]),
            Property::always(CONVERGENCE, |model: &Self, state: &State| model.converges(state)),
        ];
        if self.accusations > 0 {
            // Without this, the other properties would mean little.
            properties.push(Property::sometimes(
                "a node refutes its own death",
                |_, state: &State| {
                    let refutes = |claim: &Claim| {
                        let own = state.nodes[usize::from(claim.about)].own();
                        own.status == Status::Alive && own.generation == claim.generation + 1
                    };
                    state.said.iter().any(|claim| claim.status == Status::Dead && refutes(claim))
                },
            ));
        }
        properties
    }
}
