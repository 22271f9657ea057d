//! What is to be sent: small intents, encoded when the host polls.
//!
//! Three lanes, polled in order: replies (acks above all), then questions (pings, ping-reqs, syncs),
//! then gossip. Each is bounded; what does not fit is shed and counted.
//!
//! A reply in a sync session says a [`Diff`]. Its items stand in queues beside the replies, in the
//! same order. [`Outbox::reply`] takes the reply and its diff, or refuses both, and
//! [`Outbox::pop`] takes both out, so the two can never get out of step.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::id::{IdHash, Instance, RequestId};
use crate::membership::Slot;

/// The most replies waiting.
pub(crate) const REPLIES: usize = 256;
/// The most questions waiting: a whole roll call and some.
pub(crate) const QUESTIONS: usize = 640;
/// The most datagrams of telemetry waiting: whole flights of all branches of the trees.
pub(crate) const MAX_FLIGHT_DATAGRAMS: usize = 248;
/// The most gossip waiting: those, and some rumors.
pub(crate) const GOSSIP: usize = MAX_FLIGHT_DATAGRAMS + 64;

/// The most rows that one reply asks for or sends; more than fit a datagram of default size.
const MAX_DIFF: usize = 256;

/// Room for diffs that is kept from the start.
const ROOM: usize = 16;

/// The part of a datagram that is about being there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal<A> {
    None,
    Ping(RequestId, IdHash),
    Ack(RequestId, Instance),
    Nack(RequestId),
    PingReq(RequestId, IdHash, A),
}

/// The part of a datagram that is about state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Nothing of its own; rumors fill the room.
    None,
    /// Only rumors: no datagram if there are none and nothing else to say.
    Rumors,
    /// This node's own claim, whether it is a rumor or not.
    Introduction,
    SyncOpen(RequestId),
    SyncDigest(RequestId),
    /// The rows of these buckets.
    SyncVersions(RequestId, u64),
    /// What is newer here, and what is wanted.
    SyncWants(RequestId, Diff),
    /// What was wanted, or what is newer here; then done.
    SyncDone(RequestId, Diff),
    PageRequest(RequestId, IdHash),
    /// From this id hash on.
    Page(RequestId, IdHash),
    /// A piece from this id hash on, and no more.
    Piece(RequestId, IdHash),
    /// The telemetry that waits on this branch.
    Tree(RequestId, usize),
    /// A branch's datagram has come; what is missing before it is wanted.
    TreeAck(RequestId, Diff),
}

/// A datagram to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Intent<A> {
    pub(crate) to: A,
    /// The member that the receiver is known as, if it is known: what is held against it goes
    /// along, and what is known of its id at another address.
    pub(crate) member: Option<Slot>,
    pub(crate) signal: Signal<A>,
    /// A ping along with a reply, by which an unverified member proves its address.
    pub(crate) challenge: Option<(RequestId, IdHash)>,
    pub(crate) body: Body,
    /// The most bytes.
    pub(crate) limit: usize,
}

impl<A> Intent<A> {
    /// A datagram that says nothing yet.
    pub(crate) const fn new(to: A, member: Option<Slot>, limit: usize) -> Self {
        Self { to, member, signal: Signal::None, challenge: None, body: Body::None, limit }
    }

    pub(crate) fn with_signal(self, signal: Signal<A>) -> Self {
        Self { signal, ..self }
    }

    pub(crate) fn with_body(self, body: Body) -> Self {
        Self { body, ..self }
    }
}

/// Something to send in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) slot: Slot,
    /// Whether to send the claim.
    pub(crate) claim: bool,
    /// Since which version to send telemetry; `None` for none.
    pub(crate) since: Option<u64>,
}

/// Something to ask for in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    pub(crate) id_hash: IdHash,
    pub(crate) claim: bool,
    pub(crate) since: u64,
}

/// How much of the outgoing diffs one reply says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Diff {
    pub(crate) items: usize,
    pub(crate) wants: usize,
    pub(crate) more: bool,
}

/// What the replies still have to say, in the order in which they are queued.
#[derive(Debug)]
pub(crate) struct OutgoingDiffs {
    items: VecDeque<Item>,
    wants: VecDeque<Want>,
}

impl OutgoingDiffs {
    /// With room for what most sessions say.
    fn new() -> Self {
        Self { items: VecDeque::with_capacity(ROOM), wants: VecDeque::with_capacity(ROOM) }
    }

    pub(crate) fn push(&mut self, diff: &mut Diff, item: Item) {
        if diff.items < MAX_DIFF {
            self.items.push_back(item);
            diff.items += 1;
        } else {
            diff.more = true;
        }
    }

    pub(crate) fn want(&mut self, diff: &mut Diff, want: Want) {
        if diff.wants < MAX_DIFF {
            self.wants.push_back(want);
            diff.wants += 1;
        } else {
            diff.more = true;
        }
    }

    /// Forgets the latest diff: no reply will say it.
    pub(crate) fn revoke(&mut self, diff: Diff) {
        self.items.truncate(self.items.len().saturating_sub(diff.items));
        self.wants.truncate(self.wants.len().saturating_sub(diff.wants));
    }

    fn clear(&mut self) {
        *self = Self::new();
    }

    fn heap_bytes(&self) -> usize {
        self.items.capacity() * size_of::<Item>() + self.wants.capacity() * size_of::<Want>()
    }
}

/// The diff of the reply that is being encoded.
#[derive(Debug, Default)]
pub(crate) struct TakenDiff {
    pub(crate) items: Vec<Item>,
    pub(crate) wants: Vec<Want>,
}

#[derive(Debug)]
pub(crate) struct Outbox<A> {
    replies: VecDeque<(Intent<A>, Diff)>,
    /// What the replies say; a diff is made here before its reply is queued.
    pub(crate) diffs: OutgoingDiffs,
    /// That of the intent popped last.
    pub(crate) taken: TakenDiff,
    questions: VecDeque<Intent<A>>,
    gossip: VecDeque<Intent<A>>,
}

impl<A> Outbox<A> {
    pub(crate) fn new() -> Self {
        Self {
            replies: VecDeque::new(),
            diffs: OutgoingDiffs::new(),
            taken: TakenDiff::default(),
            questions: VecDeque::new(),
            gossip: VecDeque::new(),
        }
    }

    /// Queues a reply that says `diff`, the latest of the outgoing ones; false if both are shed.
    pub(crate) fn reply(&mut self, intent: Intent<A>, diff: Diff) -> bool {
        let queued = push(&mut self.replies, REPLIES, (intent, diff));
        if !queued {
            self.diffs.revoke(diff);
        }
        queued
    }

    /// Queues a question; false if it is shed.
    pub(crate) fn question(&mut self, intent: Intent<A>) -> bool {
        push(&mut self.questions, QUESTIONS, intent)
    }

    /// Queues gossip; false if it is shed.
    pub(crate) fn gossip(&mut self, intent: Intent<A>) -> bool {
        push(&mut self.gossip, GOSSIP, intent)
    }

    /// The next intent. What its diff says is in `taken`.
    pub(crate) fn pop(&mut self) -> Option<Intent<A>> {
        if let Some((intent, diff)) = self.replies.pop_front() {
            self.take(diff);
            return Some(intent);
        }
        self.questions.pop_front().or_else(|| self.gossip.pop_front())
    }

    fn take(&mut self, diff: Diff) {
        let Self { diffs, taken, .. } = self;
        taken.items.clear();
        taken.wants.clear();
        taken.items.extend(diffs.items.drain(..diff.items.min(diffs.items.len())));
        taken.wants.extend(diffs.wants.drain(..diff.wants.min(diffs.wants.len())));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.replies.is_empty() && self.questions.is_empty() && self.gossip.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.replies.clear();
        self.diffs.clear();
        self.questions.clear();
        self.gossip.clear();
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let lanes = [&self.questions, &self.gossip];
        lanes.iter().map(|lane| lane.capacity() * size_of::<Intent<A>>()).sum::<usize>()
            + self.replies.capacity() * size_of::<(Intent<A>, Diff)>()
            + self.diffs.heap_bytes()
            + self.taken.items.capacity() * size_of::<Item>()
            + self.taken.wants.capacity() * size_of::<Want>()
    }
}

fn push<T>(lane: &mut VecDeque<T>, limit: usize, entry: T) -> bool {
    let fits = lane.len() < limit;
    if fits {
        lane.push_back(entry);
    }
    fits
}
