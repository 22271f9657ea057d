//! What every part of a node reads and writes: the time, the settings, the table, what waits to be
//! sent. A part's own state is not here.
//!
//! The node owns one [`Cx`] beside its parts. `&mut self.cx` and `&mut self.detector` are two
//! fields of one struct, which the borrow checker keeps apart by itself, and `&self.cx` serves
//! [`Node::poll_timeout`](crate::Node::poll_timeout), which has no `&mut` to lend.

mod events;
mod telemetry;

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::config::Config;
use crate::event::Event;
use crate::id::{IdHash, Instance, NodeId, RequestId};
use crate::membership::admission::Admission;
use crate::membership::proof::{AMPLIFICATION, Proof};
use crate::membership::rumors::{Rumors, send_limit};
use crate::membership::tombstone::Tombstones;
use crate::membership::{Membership, Slot};
use crate::outbox::{Diff, Intent, Outbox, Signal};
use crate::rng::Random;
use crate::stats::Stats;
use crate::time::Instant;
use crate::violation::Violation;
pub(crate) use events::Events;
pub(crate) use telemetry::Fit;

/// Counts up with each change of the serialised shape of [`Cx`].
pub(crate) const SHAPE: u32 = 1;

/// The context of all parts.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(
    serialize = "A: Address + Serialize",
    deserialize = "A: Address + Deserialize<'de>"
))]
pub(crate) struct Cx<A> {
    /// The latest time that the host has passed in.
    pub(crate) now: Instant,
    pub(crate) config: Config,
    pub(crate) this: ThisNode<A>,
    pub(crate) activity: Activity,
    /// What is held of each member.
    #[serde(with = "crate::membership::snapshot")]
    pub(crate) table: Membership<A>,
    /// Which nodes belong.
    pub(crate) admission: Admission,
    pub(crate) tombstones: Tombstones,
    /// The rows that changed and are still to be told. Every part that changes a row queues it.
    pub(crate) rumors: Rumors,
    pub(crate) proof: Proof,
    pub(crate) rng: Random,
    #[serde(skip, default = "Outbox::new")]
    pub(crate) outbox: Outbox<A>,
    #[serde(skip, default = "Events::new")]
    pub(crate) events: Events<A>,
    pub(crate) stats: Stats,
}

/// This node itself.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct ThisNode<A> {
    pub(crate) id: NodeId,
    pub(crate) address: A,
    pub(crate) id_hash: IdHash,
    pub(crate) instance: Instance,
    /// The place of its own row.
    pub(crate) slot: Slot,
}

/// Whether the node takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Activity {
    Active,
    /// It has said that it leaves, and stays until that is told or this time comes.
    Leaving(Instant),
    /// It has left, or lost its id to another process.
    Inactive,
}

/// One folder's share of the node. The node names its parts; no call is dynamic.
pub(crate) trait Part<A: Address> {
    /// When [`on_timeout`](Self::on_timeout) has something to do next.
    fn deadline(&self, cx: &Cx<A>) -> Option<Instant>;
    /// Whether nothing is under way. That is not `deadline().is_none()`: a branch of the trees
    /// without a partner waits without a deadline.
    fn is_idle(&self) -> bool;
    /// Does what is due at `cx.now`.
    fn on_timeout(&mut self, cx: &mut Cx<A>);
    /// Forgets a member whose row is about to go.
    fn forget(&mut self, slot: Slot, cx: &mut Cx<A>);
    /// Bytes of heap memory held; queues of few entries of fixed size aside.
    fn heap_bytes(&self) -> usize;
    /// Checks what must hold within the part and between it and the context.
    fn check(&self, cx: &Cx<A>) -> Result<(), Violation>;
}

impl<A: Address> Cx<A> {
    pub(crate) fn emit(&mut self, event: Event<A>) {
        if !self.events.push(event) {
            self.stats.events_shed += 1;
        }
    }

    /// Queues the change of a member's telemetry, which was known up to version `since`.
    pub(crate) fn queue_change(&mut self, slot: Slot, since: u64) {
        let version = self.table.row(slot).telemetry_version();
        if !self.events.push_change(slot, since, version) {
            self.stats.events_shed += 1;
        }
    }

    /// A number that a peer cannot guess: whoever repeats it has received the datagram.
    pub(crate) fn request_id(&mut self) -> RequestId {
        RequestId(self.rng.word())
    }

    /// A random part of `span`.
    pub(crate) fn jitter(&mut self, span: Duration) -> Duration {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.rng.micros_below(micros))
    }

    /// The number of live members besides this node.
    pub(crate) fn others(&self) -> u32 {
        self.table.live().saturating_sub(u32::from(self.table.is_live(self.this.slot)))
    }

    pub(crate) fn has_others(&self) -> bool {
        self.table.live() > 1 || self.others() > 0
    }

    /// How often each rumor is sent in a cluster of this size.
    pub(crate) fn send_limit(&self) -> u8 {
        send_limit(self.config.retransmit_multiplier, self.table.live())
    }

    /// How long a change takes to be known everywhere in a cluster of this size.
    pub(crate) fn spread_time(&self) -> Duration {
        self.config.spread_time(self.table.live())
    }

    pub(crate) fn mtu(&self) -> usize {
        self.config.mtu.into()
    }

    /// The most bytes to a receiver: a whole datagram, or, for one that has not proved its address,
    /// [`AMPLIFICATION`] times the bytes that it sent.
    pub(crate) fn limit_to(&self, receiver: Option<Slot>, sent: usize) -> usize {
        let verified = receiver.is_some_and(|slot| self.table.row(slot).verified);
        if verified { self.mtu() } else { self.mtu().min(AMPLIFICATION * sent) }
    }

    /// The member with this id hash, if `from` is its address.
    pub(crate) fn member_at(&self, id_hash: IdHash, from: A) -> Option<Slot> {
        self.table
            .with_id_hash(id_hash)
            .find(|&slot| slot != self.this.slot && self.table.row(slot).is_at(&from))
    }

    /// Queues a question; one that the outbox has no room for is shed and counted.
    pub(crate) fn ask(&mut self, intent: Intent<A>) {
        if !self.outbox.question(intent) {
            self.stats.outbox_shed += 1;
        }
    }

    /// Queues a reply and what it says of a session; false if the outbox has no room for it, which
    /// is counted.
    pub(crate) fn reply(&mut self, intent: Intent<A>, diff: Diff) -> bool {
        let queued = self.outbox.reply(intent, diff);
        if !queued {
            self.stats.outbox_shed += 1;
        }
        queued
    }

    /// Queues gossip; false if the outbox has no room for it, which is counted.
    pub(crate) fn gossip(&mut self, intent: Intent<A>) -> bool {
        let queued = self.outbox.gossip(intent);
        if !queued {
            self.stats.outbox_shed += 1;
        }
        queued
    }

    /// Pings a member under this number, if its address is known.
    pub(crate) fn ping(&mut self, slot: Slot, number: RequestId) {
        if let Some(to) = self.table.address(slot) {
            let signal = Signal::Ping(number, self.table.id_hash(slot));
            self.ask(Intent::new(to, Some(slot), self.mtu()).with_signal(signal));
        }
    }

    /// Pings a member that is in doubt or dead: the ping tells it what is held of it. Its ack
    /// proves its address and nothing more; what counts is the claim that comes along.
    pub(crate) fn status_ping(&mut self, slot: Slot) {
        let address = self.table.address(slot);
        let number = address.and_then(|address| self.proof.challenge(address, self.now));
        self.ping(slot, number.unwrap_or_default());
    }
}

/// The earlier of two times, where there are any.
pub(crate) fn sooner(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (Some(at), None) | (None, Some(at)) => Some(at),
        (None, None) => None,
    }
}
