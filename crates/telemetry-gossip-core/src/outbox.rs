//! What is to be sent: small intents, encoded when the host polls.
//!
//! Three lanes, polled in order: replies (acks above all), then questions (pings, relays, syncs),
//! then gossip. Each is bounded; what does not fit is shed and counted.

use alloc::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::id::{IdHash, Instance, RequestId};
use crate::membership::Slot;
use crate::sync::Plan;
use crate::tree::MOST_DATAGRAMS;

/// The most replies waiting.
pub(crate) const REPLIES: usize = 256;
/// The most questions waiting: a whole roll call and some.
pub(crate) const QUESTIONS: usize = 640;
/// The most gossip waiting: whole flights of all branches, and some.
pub(crate) const GOSSIP: usize = MOST_DATAGRAMS + 64;

/// The part of a datagram that is about being there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Signal<A> {
    None,
    Ping(RequestId, IdHash),
    Ack(RequestId, Instance),
    Nack(RequestId),
    Relay(RequestId, IdHash, A),
}

/// The part of a datagram that is about state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Body {
    /// Nothing of its own; rumors fill the room.
    None,
    /// Only rumors: no datagram if there are none and nothing else to say.
    Gossip,
    /// This node's own claim, whether it is news or not.
    Introduction,
    SyncOpen(RequestId),
    SyncDigest(RequestId),
    /// The rows of these buckets.
    SyncVersions(RequestId, u64),
    /// What is newer here, and what is wanted.
    SyncWants(RequestId, Plan),
    /// What was wanted, or what is newer here; then done.
    SyncDone(RequestId, Plan),
    PageRequest(RequestId, IdHash),
    /// From this id hash on.
    Page(RequestId, IdHash),
    /// A piece from this id hash on, and no more.
    Piece(RequestId, IdHash),
    /// The telemetry that waits on this branch.
    Tree(RequestId, usize),
    /// A branch's datagram has come; what is missing before it is wanted.
    TreeAck(RequestId, Plan),
}

/// A datagram to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent<A> {
    pub(crate) to: A,
    /// By which name the reader is known, if by any: what is held against it goes along, and what
    /// is known of that name at another address.
    pub(crate) member: Option<Slot>,
    pub(crate) signal: Signal<A>,
    /// A ping along with a reply, by which an unverified member proves its address.
    pub(crate) challenge: Option<(RequestId, IdHash)>,
    pub(crate) body: Body,
    /// The most bytes.
    pub(crate) limit: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Outbox<A> {
    replies: VecDeque<Intent<A>>,
    questions: VecDeque<Intent<A>>,
    gossip: VecDeque<Intent<A>>,
}

impl<A> Outbox<A> {
    pub(crate) const fn new() -> Self {
        Self { replies: VecDeque::new(), questions: VecDeque::new(), gossip: VecDeque::new() }
    }

    /// Queues a reply; false if it is shed.
    pub(crate) fn reply(&mut self, intent: Intent<A>) -> bool {
        push(&mut self.replies, REPLIES, intent)
    }

    /// Queues a question; false if it is shed.
    pub(crate) fn question(&mut self, intent: Intent<A>) -> bool {
        push(&mut self.questions, QUESTIONS, intent)
    }

    /// Queues gossip; false if it is shed.
    pub(crate) fn gossip(&mut self, intent: Intent<A>) -> bool {
        push(&mut self.gossip, GOSSIP, intent)
    }

    pub(crate) fn pop(&mut self) -> Option<Intent<A>> {
        self.replies
            .pop_front()
            .or_else(|| self.questions.pop_front())
            .or_else(|| self.gossip.pop_front())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.replies.is_empty() && self.questions.is_empty() && self.gossip.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.replies.clear();
        self.questions.clear();
        self.gossip.clear();
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let lanes = [&self.replies, &self.questions, &self.gossip];
        lanes.iter().map(|lane| lane.capacity() * size_of::<Intent<A>>()).sum()
    }
}

fn push<A>(lane: &mut VecDeque<Intent<A>>, limit: usize, intent: Intent<A>) -> bool {
    let fits = lane.len() < limit;
    if fits {
        lane.push_back(intent);
    }
    fits
}
