//! The datagrams to send, as small intents, which are encoded when the host polls.
//!
//! There are three queues, polled in this order: replies (mostly acks), then requests (pings,
//! ping-reqs, sync sessions), then gossip. Each is bounded; an intent that does not fit is shed,
//! which the caller counts.
//!
//! A reply in a sync session carries a [`Diff`]. The items of all diffs stand in queues beside the
//! replies, in the same order. [`Outbox::reply`] takes a reply and its diff, or refuses both, and
//! [`Outbox::pop`] takes both out, so that the two can never get out of step.
//!
//! The outbox decides neither what to send nor when, and it holds no bytes.

use alloc::collections::VecDeque;

use crate::id::{IdHash, Instance, RequestId};
use crate::membership::{HashRange, Place, Slot};

/// The most replies that wait.
pub(crate) const MAX_REPLIES: usize = 256;
/// The most requests that wait: those of a whole roll call and some more.
pub(crate) const MAX_REQUESTS: usize = 640;
/// The most datagrams of telemetry that wait: whole flights of all branches of the trees.
pub(crate) const MAX_FLIGHT_DATAGRAMS: usize = 248;
/// The most datagrams of gossip that wait: those of telemetry, and some with rumors.
pub(crate) const MAX_GOSSIP: usize = MAX_FLIGHT_DATAGRAMS + 64;

/// The most rows that one reply sends, the most that it asks for, and the most ranges that it
/// compares: more than fit a datagram of the default size.
const MAX_DIFF_ROWS: usize = 256;

/// The initial capacity of the queues of diffs, in items.
const DIFF_CAPACITY: usize = 16;

/// The part of a datagram that probes a node or answers a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal<A> {
    None,
    Ping(RequestId, IdHash),
    Ack(RequestId, Instance),
    Nack(RequestId),
    PingReq(RequestId, IdHash, A),
}

/// The part of a datagram that carries state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// No body; rumors fill the room that is left.
    None,
    /// Only rumors. Without any, and without a signal, the datagram is not sent.
    Rumors,
    /// This node's own claim, whether it is a rumor or not.
    Introduction,
    /// The same, and before it what is held of the receiver's id, which is another process.
    Rival,
    /// That the receiver is no member. Nothing else is said, not even the fingerprints.
    NotAMember,
    /// The question whether the tables are equal.
    SyncOpen(RequestId),
    /// The fingerprints of all hash ranges.
    SyncDigest(RequestId),
    /// The sums of parts of the whole table, those of members that are gone included.
    SyncParts(RequestId),
    /// The versions of the rows in the hash ranges of this bit mask.
    SyncVersions(RequestId, u64),
    /// The versions of the rows in the ranges of the diff, or sums of their parts.
    SyncRanges(RequestId, Diff),
    /// The rows that are newer here, and the wants.
    SyncWants(RequestId, Diff),
    /// The rows that the partner wants or that are newer here, and the end of the session.
    SyncDone(RequestId, Diff),
    /// This node's own claim, and the question to an accuser about the member with this id hash.
    Question(RequestId, IdHash),
    /// The question which process a member holds under this node's id. Nothing of this node's own
    /// claim is said with it.
    Vote(RequestId),
    /// The question for the page that begins at this place.
    PageRequest(RequestId, Place),
    /// The page that begins at this place.
    Page(RequestId, Place),
    /// A short page from this id hash on, without any after it.
    Piece(RequestId, IdHash),
    /// The telemetry that waits on this branch.
    Tree(RequestId, usize),
    /// The telemetry of a member after this version, to the member itself.
    Echo(Slot, u64),
    /// The acknowledgement of a datagram of telemetry, and wants for what is missing before it.
    TreeAck(RequestId, Diff),
}

impl Body {
    /// How much of the outgoing diffs this body says, if it is one that says any.
    #[inline]
    const fn diff(&self) -> Option<Diff> {
        match *self {
            Self::SyncRanges(_, diff)
            | Self::SyncWants(_, diff)
            | Self::SyncDone(_, diff)
            | Self::TreeAck(_, diff) => Some(diff),
            _ => None,
        }
    }
}

/// A datagram that is to be encoded and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Intent<A> {
    pub(crate) to: A,
    /// The member with the id of the receiver, if the table has one. If this node doubts it, or
    /// knows it at another address, the datagram carries the claim about it.
    pub(crate) member: Option<Slot>,
    pub(crate) signal: Signal<A>,
    /// A ping beside a reply, by which an unverified receiver proves its address.
    pub(crate) challenge: Option<(RequestId, IdHash)>,
    pub(crate) body: Body,
    /// The most bytes of the datagram.
    pub(crate) limit: usize,
}

impl<A> Intent<A> {
    /// Returns a datagram without a signal or a body.
    #[inline]
    pub(crate) const fn new(to: A, member: Option<Slot>, limit: usize) -> Self {
        Self { to, member, signal: Signal::None, challenge: None, body: Body::None, limit }
    }

    /// Sets the signal.
    #[inline]
    pub(crate) fn with_signal(self, signal: Signal<A>) -> Self {
        Self { signal, ..self }
    }

    /// Sets the body.
    #[inline]
    pub(crate) fn with_body(self, body: Body) -> Self {
        Self { body, ..self }
    }
}

/// A row to send in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) slot: Slot,
    /// Whether to send the claim.
    pub(crate) claim: bool,
    /// The version after which to send telemetry; `None` to send none.
    pub(crate) since: Option<u64>,
}

/// A row to ask for in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    pub(crate) id_hash: IdHash,
    /// Whether the claim is wanted.
    pub(crate) claim: bool,
    /// The version after which telemetry is wanted.
    pub(crate) since: u64,
}

/// The share of one reply in the outgoing diffs, by the numbers of its items, wants and ranges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Diff {
    pub(crate) items: usize,
    pub(crate) wants: usize,
    /// How many ranges are left to compare.
    pub(crate) ranges: usize,
    /// Whether not all of the difference is in it.
    pub(crate) more: bool,
}

impl Diff {
    const fn is_empty(self) -> bool {
        self.items | self.wants | self.ranges == 0
    }

    /// The diff of as many items, wants and ranges as both have.
    const fn and(self, other: Self) -> Self {
        let (items, wants) = (self.items + other.items, self.wants + other.wants);
        Self { items, wants, ranges: self.ranges + other.ranges, more: false }
    }

    /// Whether both say as many items, wants and ranges.
    const fn has_same_rows(self, other: Self) -> bool {
        self.items == other.items && self.wants == other.wants && self.ranges == other.ranges
    }
}

/// The items, wants and ranges of all queued replies, in the order of the replies.
#[derive(Debug)]
pub(crate) struct OutgoingDiffs {
    pub(crate) items: VecDeque<Item>,
    pub(crate) wants: VecDeque<Want>,
    pub(crate) ranges: VecDeque<HashRange>,
}

impl OutgoingDiffs {
    /// Returns empty queues with room for what most sessions send.
    fn new() -> Self {
        Self {
            items: VecDeque::with_capacity(DIFF_CAPACITY),
            wants: VecDeque::with_capacity(DIFF_CAPACITY),
            // Small tables are listed as a whole, and never need any.
            ranges: VecDeque::new(),
        }
    }

    /// Adds an item to the latest diff, as long as it has room.
    pub(crate) fn push(&mut self, diff: &mut Diff, item: Item) {
        if diff.items < MAX_DIFF_ROWS {
            self.items.push_back(item);
            diff.items += 1;
        } else {
            diff.more = true;
        }
    }

    /// Adds a want to the latest diff, as long as it has room.
    pub(crate) fn want(&mut self, diff: &mut Diff, want: Want) {
        if diff.wants < MAX_DIFF_ROWS {
            self.wants.push_back(want);
            diff.wants += 1;
        } else {
            diff.more = true;
        }
    }

    /// Adds a range to the latest diff, as long as it has room.
    pub(crate) fn range(&mut self, diff: &mut Diff, range: HashRange) {
        if diff.ranges < MAX_DIFF_ROWS {
            self.ranges.push_back(range);
            diff.ranges += 1;
        } else {
            diff.more = true;
        }
    }

    /// Removes the latest diff, since no reply will carry it.
    pub(crate) fn revoke(&mut self, diff: Diff) {
        self.items.truncate(self.items.len().saturating_sub(diff.items));
        self.wants.truncate(self.wants.len().saturating_sub(diff.wants));
        self.ranges.truncate(self.ranges.len().saturating_sub(diff.ranges));
    }

    /// Removes the diff that stands behind those that `before` adds up: its reply was encoded or
    /// given up.
    #[cold]
    fn drop_behind(&mut self, before: Diff, diff: Diff) {
        fn drain<T>(queue: &mut VecDeque<T>, before: usize, count: usize) {
            let end = queue.len().min(before + count);
            queue.drain(before.min(end)..end);
        }
        drain(&mut self.items, before.items, diff.items);
        drain(&mut self.wants, before.wants, diff.wants);
        drain(&mut self.ranges, before.ranges, diff.ranges);
    }

    fn clear(&mut self) {
        *self = Self::new();
    }

    fn heap_bytes(&self) -> usize {
        self.items.capacity() * size_of::<Item>()
            + self.wants.capacity() * size_of::<Want>()
            + self.ranges.capacity() * size_of::<HashRange>()
    }
}

/// The queues of intents.
#[derive(Debug)]
pub(crate) struct Outbox<A> {
    replies: VecDeque<Intent<A>>,
    /// The diffs of the replies. A diff is made here before its reply is queued.
    pub(crate) diffs: OutgoingDiffs,
    /// The diff of the reply that was popped last, if it has one. It stands first in `diffs`.
    popped: Option<Diff>,
    requests: VecDeque<Intent<A>>,
    gossip: VecDeque<Intent<A>>,
}

impl<A> Outbox<A> {
    pub(crate) fn new() -> Self {
        Self {
            replies: VecDeque::new(),
            diffs: OutgoingDiffs::new(),
            popped: None,
            requests: VecDeque::new(),
            gossip: VecDeque::new(),
        }
    }

    /// Queues a reply that carries `diff`, the latest of the outgoing diffs; false if both are
    /// shed. A diff that the reply does not carry, because a later frame of the same datagram
    /// called for another body, is revoked.
    pub(crate) fn reply(&mut self, intent: Intent<A>, diff: Diff) -> bool {
        let carries = diff.is_empty()
            || intent.body.diff().is_some_and(|carried| carried.has_same_rows(diff));
        let queued = push(&mut self.replies, MAX_REPLIES, intent);
        if !(queued && carries) {
            self.diffs.revoke(diff);
        }
        queued
    }

    /// Queues a request; false if it is shed.
    pub(crate) fn request(&mut self, intent: Intent<A>) -> bool {
        push(&mut self.requests, MAX_REQUESTS, intent)
    }

    /// Queues gossip; false if it is shed.
    pub(crate) fn gossip(&mut self, intent: Intent<A>) -> bool {
        push(&mut self.gossip, MAX_GOSSIP, intent)
    }

    /// Takes the next intent. The items and wants of its diff stand first in `diffs` until the next
    /// call, whether the intent could be encoded or not.
    pub(crate) fn pop(&mut self) -> Option<Intent<A>> {
        if let Some(diff) = self.popped.take() {
            self.diffs.drop_behind(Diff::default(), diff);
        }
        let Some(reply) = self.replies.front() else {
            return take_first(&mut self.requests).or_else(|| take_first(&mut self.gossip));
        };
        self.popped = reply.body.diff();
        take_first(&mut self.replies)
    }

    /// Drops what waits to be sent to a member, and what would be said of it: its row is removed,
    /// and another member may get the slot.
    pub(crate) fn forget(&mut self, slot: Slot) {
        let waits_for = |intent: &Intent<A>| {
            intent.member == Some(slot)
                || matches!(intent.body, Body::Echo(owner, _) if owner == slot)
        };
        let (diffs, mut before) = (&mut self.diffs, self.popped.unwrap_or_default());
        self.replies.retain(|reply| {
            let diff = reply.body.diff().unwrap_or_default();
            let stays = !waits_for(reply);
            if stays {
                before = before.and(diff);
            } else {
                diffs.drop_behind(before, diff);
            }
            stays
        });
        self.requests.retain(|request| !waits_for(request));
        self.gossip.retain(|gossip| !waits_for(gossip));
        for item in diffs.items.iter_mut().filter(|item| item.slot == slot) {
            (item.claim, item.since) = (false, None);
        }
    }

    /// The number of datagrams that wait for this address.
    pub(crate) fn waiting_for(&self, to: A) -> usize
    where
        A: PartialEq,
    {
        let all = self.replies.iter().chain(&self.requests).chain(&self.gossip);
        all.filter(|intent| intent.to == to).count()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.replies.is_empty() && self.requests.is_empty() && self.gossip.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.replies.clear();
        self.diffs.clear();
        self.popped = None;
        self.requests.clear();
        self.gossip.clear();
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let queues = [&self.replies, &self.requests, &self.gossip];
        queues.iter().map(|queue| queue.capacity() * size_of::<Intent<A>>()).sum::<usize>()
            + self.diffs.heap_bytes()
    }
}

/// Takes the first entry. A queue that was long, as in a flood, gives its memory back once it is
/// empty.
fn take_first<T>(queue: &mut VecDeque<T>) -> Option<T> {
    /// The places of an empty queue that are kept. In calm, no queue is longer.
    const MAX_KEPT: usize = 16;
    let first = queue.pop_front();
    if queue.is_empty() && queue.capacity() > MAX_KEPT {
        *queue = VecDeque::new();
    }
    first
}

fn push<T>(queue: &mut VecDeque<T>, limit: usize, entry: T) -> bool {
    let fits = queue.len() < limit;
    if fits {
        queue.push_back(entry);
    }
    fits
}
