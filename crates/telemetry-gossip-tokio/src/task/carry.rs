//! Where the outputs of the node go: datagrams to the transport, events to the readers and the log,
//! answers to the handles.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use telemetry_gossip_core::{Node, NodeId, Transmit};
use tokio::sync::{broadcast, oneshot};
use tokio::time::Instant;

use super::seeds::{Purpose, SeedNames};
use super::{Exchanged, Left, Probed};
use crate::events::Event;
use crate::options::OnConflict;
use crate::peer_addr::PeerAddr;
use crate::record::Tape;
use crate::sends::Sends;

/// How long the log is not told again that no seed has answered.
const WARN_EVERY: Duration = Duration::from_secs(600);

/// The most bytes of room for datagrams that are kept: some dozens of datagrams. A burst, such as
/// the pages of a join, takes more for a moment.
const MAX_ROOM_KEPT: usize = 64 * 1_024;

/// Gives an answer, once the view is published.
type Answer = Box<dyn FnOnce() + Send>;

/// Where the outputs of the node go.
pub(super) struct Carry {
    /// The events and answers that wait until the view is published.
    pub(super) told: Vec<Event>,
    answers: Vec<Answer>,
    pub(super) sends: Sends,
    buf: Vec<u8>,
    outputs: Outputs,
    pub(super) events: broadcast::Sender<Arc<Event>>,
    pub(super) changed: BTreeSet<NodeId>,
    /// The last event about the isolation of the node that the view does not show yet.
    pub(super) isolation: Option<Event>,
    pub(super) seeds: SeedNames,
    pub(super) probes: HashMap<NodeId, VecDeque<Probed>>,
    pub(super) exchanges: VecDeque<Exchanged>,
    pub(super) leaving: Vec<Left>,
    /// Once the node has left: whether a member has heard of it, if there are others.
    pub(super) left: Option<bool>,
    /// When the log was told last that no seed has answered.
    warned_at: Option<Instant>,
    pub(super) on_conflict: OnConflict,
    /// Whether the task stops once the view is published.
    pub(super) ends: bool,
    pub(super) tape: Option<Tape>,
    /// Whether the live members are written before it is time, as the node has left.
    pub(super) keeps_now: bool,
}

/// What the node has put out and is not passed on yet. The room is kept and used again.
#[derive(Default)]
struct Outputs {
    /// The datagrams, one after the other, and the receiver and length of each.
    bytes: Vec<u8>,
    datagrams: Vec<(PeerAddr, usize)>,
    events: Vec<Event>,
}

impl Carry {
    pub(super) fn new(
        mtu: u16,
        sends: Sends,
        events: broadcast::Sender<Arc<Event>>,
        seeds: SeedNames,
        on_conflict: OnConflict,
        tape: Option<Tape>,
    ) -> Self {
        Self {
            told: Vec::new(),
            answers: Vec::new(),
            sends,
            buf: vec![0; mtu.into()],
            outputs: Outputs::default(),
            events,
            changed: BTreeSet::new(),
            isolation: None,
            seeds,
            probes: HashMap::new(),
            exchanges: VecDeque::new(),
            leaving: Vec::new(),
            left: None,
            warned_at: None,
            on_conflict,
            ends: false,
            tape,
            keeps_now: false,
        }
    }

    /// Takes the outputs of the node, and passes none of them on: the caller may hold the lock of a
    /// table that it shares with the host, whose code must not run meanwhile.
    pub(super) fn take(&mut self, node: &mut Node<PeerAddr>) {
        while let Some(Transmit { to, len, .. }) = node.poll_transmit(&mut self.buf) {
            let bytes = &self.buf[..len];
            if let Some(tape) = &mut self.tape {
                tape.transmit(&to, bytes);
            }
            self.outputs.bytes.extend_from_slice(bytes);
            self.outputs.datagrams.push((to, len));
        }
        while let Some(event) = node.poll_event() {
            if let Some(tape) = &mut self.tape {
                tape.event(&event);
            }
            self.outputs.events.push(event);
        }
    }

    /// Sends the datagrams that were taken, and handles the events. Called without any lock.
    pub(super) fn pass_on(&mut self) {
        let mut outputs = std::mem::take(&mut self.outputs);
        let mut rest = outputs.bytes.as_slice();
        for (to, len) in outputs.datagrams.drain(..) {
            let (bytes, behind) = rest.split_at(len);
            rest = behind;
            self.sends.send(to, bytes);
        }
        outputs.bytes.clear();
        outputs.bytes.shrink_to(MAX_ROOM_KEPT);
        for event in outputs.events.drain(..) {
            self.event(event);
        }
        self.outputs = outputs;
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Joined { id, .. }
            | Event::Alive { id, .. }
            | Event::Suspected { id, .. }
            | Event::Dead { id, .. }
            | Event::Left { id, .. }
            | Event::Moved { id, .. }
            | Event::Removed { id, .. } => {
                tracing::debug!(?event);
                self.changed.insert(id);
            }
            Event::Telemetry { id, .. } => {
                self.changed.insert(id);
            }
            Event::Evidence { id, .. } => {
                tracing::debug!(?event);
                // It may be about a further accuser.
                self.changed.insert(id);
            }
            Event::ProbeCompleted { id, outcome, .. } => {
                // One outcome for each requested probe, in order.
                if let Some(waiting) = self.probes.get_mut(&id) {
                    let answer = waiting.pop_front();
                    if waiting.is_empty() {
                        self.probes.remove(&id);
                    }
                    if let Some(answer) = answer {
                        self.answer(answer, Ok(outcome));
                    }
                }
            }
            Event::ExchangeCompleted { peer, outcome, .. } => {
                if let Some(answer) = self.exchanges.pop_front() {
                    self.answer(answer, Ok((peer, outcome)));
                }
            }
            Event::LeaveCompleted { heard_by, others, .. } => {
                self.keeps_now = true;
                let told = heard_by > 0 || others == 0;
                self.left = Some(told);
                for answer in std::mem::take(&mut self.leaving) {
                    self.answer(answer, Ok(told));
                }
            }
            Event::JoinFailed => {
                self.warn_of_join();
                self.seeds.want(Purpose::Join);
            }
            Event::SeedsDue => self.seeds.want(Purpose::Refresh),
            Event::IdentityConflict { lost: true, .. } => {
                tracing::warn!(?event);
                self.ends = self.on_conflict == OnConflict::Exit;
            }
            Event::Isolated { .. } | Event::Reconnected { .. } => {
                tracing::info!(?event);
                self.isolation = Some(event);
            }
            Event::Dropped { dropped, .. } => tracing::warn!("{dropped}"),
            Event::Unreached { .. } | Event::LongDatagramsLost { .. } | Event::Distant { .. } => {
                tracing::warn!(?event);
            }
            // `Refuted`, `IdentityRegained`, `JoinCompleted`, `SeenElsewhere`, `AnswersElsewhere`,
            // `NotAMember`, `Knocked`, `TableDoubled`.
            _ => tracing::info!(?event),
        }
        self.told.push(event);
    }

    /// Warns once in a while that no seed has answered.
    fn warn_of_join(&mut self) {
        if self.warned_at.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            self.warned_at = Some(Instant::now());
            tracing::warn!(
                "no seed, or no member of the earlier run, has answered so far: the usual reasons \
                 are a wrong address, a firewall, and that they drop what this node sends, as it \
                 has another key or label, or a key where they have none; their own log says so"
            );
        }
    }

    pub(super) fn answer<T: Send + 'static>(&mut self, answer: oneshot::Sender<T>, value: T) {
        // The caller may be gone, which is no error.
        self.answers.push(Box::new(move || drop(answer.send(value))));
    }

    /// Sends the events and answers; the view that shows them is published.
    pub(super) fn tell(&mut self) {
        let listened_to = self.events.receiver_count() > 0;
        for event in self.told.drain(..) {
            // A reader that subscribes now finds the change in the view.
            if listened_to {
                let _ = self.events.send(Arc::new(event));
            }
        }
        for answer in self.answers.drain(..) {
            answer();
        }
    }
}
