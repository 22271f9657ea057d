//! The task that runs a node: it carries datagrams, time and commands to the node, and the outputs
//! of the node to where they go. It decides nothing.
//!
//! After each wake-up the task publishes the view, then sends events, then answers commands. A
//! reader that hears of a change therefore finds it in the view.

mod arrival;
mod carry;
mod ending;
mod publish;
pub(crate) mod seeds;

use std::collections::VecDeque;
use std::sync::Arc;

use arc_swap::ArcSwap;
use telemetry_gossip_core::{
    CommandError, Dropped, ExchangeOutcome, Explanation, Health, Input, InputError, Networks, Node,
    NodeId, ProbeOutcome, Stats,
};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::clock::{self, Clock};
use crate::clocks::{Clocks, CopyWatch};
use crate::drops;
use crate::events::Event;
use crate::options::OnConflict;
use crate::peer_addr::PeerAddr;
use crate::record::Tape;
use crate::sends::Sends;
use crate::shared::SharedTable;
use crate::state::keeper::Keeper;
use crate::transport::{Delivery, Subscription};
use crate::view::View;
use carry::Carry;
use ending::Ending;
use publish::on_table;
use seeds::{Purpose, SeedNames};

type Done = oneshot::Sender<Result<(), CommandError>>;
/// Whether a datagram about the leave was sent, if there were other members.
type Left = oneshot::Sender<Result<bool, CommandError>>;
type Probed = oneshot::Sender<Result<ProbeOutcome, CommandError>>;
type Exchanged = oneshot::Sender<Result<(Option<NodeId>, ExchangeOutcome), CommandError>>;

/// What the handles ask of the task.
#[derive(Debug)]
pub(crate) enum Command {
    Input(Input<'static, PeerAddr>, Done),
    Seeds {
        seeds: Vec<String>,
        peers: Vec<PeerAddr>,
        answer: Done,
    },
    /// The addresses of the seeds, resolved in the background.
    Resolved(Purpose, Vec<PeerAddr>),
    Leave(Left),
    Probe(NodeId, Probed),
    Exchange(Exchanged),
    Health(oneshot::Sender<Health>),
    Explain(NodeId, oneshot::Sender<Option<Explanation>>),
    Stats(oneshot::Sender<Stats>),
}

/// What woke the task.
enum Woken {
    Datagram(Option<Delivery>),
    Command(Option<Command>),
    /// A handle ends the node.
    End,
    /// The seal of the transport has refused datagrams.
    Dropped(Dropped<PeerAddr>),
    Tick,
}

pub(crate) struct Task {
    /// On the heap: it is large, and a task is moved before it runs.
    node: Box<Node<PeerAddr>>,
    table: Option<Arc<SharedTable>>,
    datagrams: Subscription,
    /// What is told of refused datagrams; `None` without a seal.
    notices: Option<broadcast::Receiver<Dropped<PeerAddr>>>,
    inbox: mpsc::Receiver<Command>,
    clock: Clock,
    /// Tells when a copy of this process may draw the same random numbers.
    watch: CopyWatch,
    commands: mpsc::WeakSender<Command>,
    /// Whether the node is to end: both ends, since its task may be the first to know.
    ending: (watch::Sender<bool>, watch::Receiver<bool>),
    view: Arc<ArcSwap<View>>,
    observed_at: Instant,
    /// Keeps the live members for the next start.
    keeper: Option<Keeper>,
    carry: Carry,
}

impl Task {
    #[expect(
        clippy::too_many_arguments,
        reason = "called once, by the handle that makes the other ends"
    )]
    pub(crate) fn new(
        node: Box<Node<PeerAddr>>,
        sends: Sends,
        datagrams: Subscription,
        clock: Clock,
        view: Arc<ArcSwap<View>>,
        events: broadcast::Sender<Arc<Event>>,
        inbox: mpsc::Receiver<Command>,
        commands: mpsc::WeakSender<Command>,
        ending: (watch::Sender<bool>, watch::Receiver<bool>),
        seeds: SeedNames,
        allowed_networks: Networks,
        cluster_config: Option<(u64, Vec<NodeId>)>,
        on_conflict: OnConflict,
        table: Option<Arc<SharedTable>>,
        tape: Option<Tape>,
        keeper: Option<Keeper>,
        peers: Vec<PeerAddr>,
    ) -> Self {
        let mtu = node.config().mtu;
        let notices = sends.transport.seal().map(|seal| seal.notices());
        let carry = Carry::new(mtu, sends, events, seeds, on_conflict, tape);
        let observed_at = Instant::now();
        let mut task = Self {
            node,
            table,
            datagrams,
            notices,
            inbox,
            clock,
            watch: CopyWatch::new(Clocks::read()),
            commands,
            ending,
            view,
            observed_at,
            keeper,
            carry,
        };
        // A node that is not in it must not be heard even once.
        if let Some((version, members)) = cluster_config {
            task.step(Input::apply_cluster_config(version, members));
        }
        if allowed_networks != Networks::default() {
            task.step(Input::AllowNetworks { networks: allowed_networks });
        }
        if !peers.is_empty() {
            task.step(Input::peers(peers));
        }
        // The first view contains the node itself.
        task.step(Input::Tick);
        task.publish();
        task.carry.tell();
        task
    }

    /// Runs until it is shut down, its last handle is dropped, or its transport is closed. Returns
    /// what is to be done at the end of a node.
    pub(crate) async fn run(mut self) -> Ending {
        loop {
            let (me, pause) = (self.node.address(), self.node.config().join_timeout);
            self.carry.seeds.resolve(me, pause, &self.carry.sends.transport, &self.commands);
            let deadline: Option<Instant> =
                self.node.poll_timeout().map(|at| self.clock.to_host(at).into());
            let tick = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let woken = tokio::select! {
                delivery = self.datagrams.recv() => Woken::Datagram(delivery),
                command = self.inbox.recv() => Woken::Command(command),
                dropped = drops::next(&mut self.notices) => Woken::Dropped(dropped),
                // The sender is this task's, too: there is no error.
                _ = self.ending.1.wait_for(|&ending| ending) => Woken::End,
                () = tick => Woken::Tick,
            };
            if self.is_to_end() {
                if let Woken::Command(Some(command)) = woken {
                    self.command(command);
                }
                break;
            }
            // First of all: whatever is handled may draw random numbers.
            self.differ_from_copies(deadline);
            match woken {
                Woken::Datagram(Some(delivery)) => self.receive(&delivery),
                // `is_to_end` has seen these, and looks at all of them whatever woke the task.
                Woken::Command(None) | Woken::Datagram(None) | Woken::End => break,
                Woken::Command(Some(command)) => self.command(command),
                Woken::Dropped(dropped) => self.carry.told.push(Event::dropped(dropped)),
                Woken::Tick => self.step(Input::Tick),
            }
            self.publish();
            if self.carry.ends {
                // Before a reader hears of it and starts the node again.
                self.ending.0.send_replace(true);
            }
            self.carry.tell();
        }
        self.end();
        self.carry.seeds.stop().await;
        Ending::of(self)
    }

    /// Whether the node was shut down, its last handle was dropped, or its transport was closed.
    /// Such a node handles nothing more: another one may already be on its transport.
    fn is_to_end(&self) -> bool {
        let deaf = self.datagrams.is_closed() && self.datagrams.is_empty();
        *self.ending.1.borrow() || self.inbox.is_closed() || deaf
    }

    /// Carries out the commands that were given before the end, and accepts no others.
    fn end(&mut self) {
        self.ending.0.send_replace(true);
        for _ in 0..self.inbox.max_capacity() {
            let Ok(command) = self.inbox.try_recv() else { break };
            self.command(command);
        }
        self.inbox.close();
        self.publish();
        self.carry.tell();
    }

    fn now(&self) -> telemetry_gossip_core::Instant {
        self.clock.to_core(clock::now())
    }

    fn view_id(&self) -> String {
        self.node.me().id().to_owned()
    }

    fn step(&mut self, input: Input<'_, PeerAddr>) {
        if let Err(error) = self.handle(input) {
            tracing::debug!(%error, "refused");
        }
    }

    /// Handles one input and everything that follows from it.
    fn handle(&mut self, input: Input<'_, PeerAddr>) -> Result<(), InputError> {
        let now = self.now();
        let carry = &mut self.carry;
        let work = |node: &mut Node<PeerAddr>| {
            if let Some(tape) = &mut carry.tape {
                tape.input(now, &input);
            }
            let result = node.handle(now, input);
            carry.take(node);
            if let Some(tape) = &mut carry.tape {
                tape.handled(node, result.is_ok());
            }
            result
        };
        let result = on_table(self.table.as_deref(), &self.inbox, &mut self.node, work);
        self.carry.pass_on();
        result.unwrap_or(Ok(()))
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Input(input, answer) => {
                let result = self.ordered(input);
                self.carry.answer(answer, result);
            }
            Command::Seeds { seeds, peers, answer } => {
                self.carry.seeds.replace(seeds);
                let result = self.ordered(Input::Join { seeds: peers.into() });
                self.carry.answer(answer, result);
            }
            Command::Resolved(purpose, peers) => {
                if let Some(input) = self.carry.seeds.resolved(purpose, peers) {
                    self.step(input);
                }
            }
            Command::Leave(answer) => self.leave(answer),
            Command::Probe(id, answer) => {
                self.carry.probes.entry(id).or_default().push_back(answer);
                if let Err(error) = self.ordered(Input::Probe { id })
                    && let Some(answer) =
                        self.carry.probes.get_mut(&id).and_then(VecDeque::pop_back)
                {
                    self.carry.answer(answer, Err(error));
                }
            }
            Command::Exchange(answer) => {
                self.carry.exchanges.push_back(answer);
                if let Err(error) = self.ordered(Input::Exchange)
                    && let Some(answer) = self.carry.exchanges.pop_back()
                {
                    self.carry.answer(answer, Err(error));
                }
            }
            Command::Health(answer) => {
                let health = self.node.health();
                self.carry.answer(answer, health);
            }
            Command::Explain(id, answer) => {
                let explanation = self.node.explain(id.as_str());
                self.carry.answer(answer, explanation);
            }
            Command::Stats(answer) => {
                let stats = *self.node.stats();
                self.carry.answer(answer, stats);
            }
        }
    }

    fn leave(&mut self, answer: Left) {
        if let Some(told) = self.carry.left {
            // It has left: once more is as good as once.
            self.carry.answer(answer, Ok(told));
            return;
        }
        let under_way = !self.carry.leaving.is_empty();
        self.carry.leaving.push(answer);
        if under_way {
            return;
        }
        if let Err(error) = self.ordered(Input::Leave) {
            for answer in std::mem::take(&mut self.carry.leaving) {
                self.carry.answer(answer, Err(error.clone()));
            }
        }
    }

    fn ordered(&mut self, input: Input<'_, PeerAddr>) -> Result<(), CommandError> {
        match self.handle(input) {
            Err(InputError::Command(error)) => Err(error),
            _ => Ok(()),
        }
    }
}
