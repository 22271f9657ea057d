//! The context that all parts of a node read and write: the time, the settings, the table, and the
//! queues of events and datagrams. The state of a single part does not belong here.
//!
//! The node owns one [`Cx`] beside its parts. `&mut self.cx` and `&mut self.detector` are two
//! fields of one struct, which the borrow checker keeps apart by itself, and `&self.cx` serves
//! [`Node::poll_timeout`](crate::Node::poll_timeout), which has no `&mut` to lend.

mod events;
mod telemetry;

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::address::{Address, MAX_ADDRESS_LEN};
use crate::config::{Config, Mode};
use crate::dropped::DropReason;
use crate::event::Event;
use crate::id::{IdHash, Instance, NodeId, RequestId};
use crate::membership::admission::Admission;
use crate::membership::proof::{AMPLIFICATION, Proof};
use crate::membership::rumors::{Rumors, send_limit};
use crate::membership::tombstone::Tombstones;
use crate::membership::{Membership, Slot};
use crate::network::{Networks, believes};
use crate::outbox::{Diff, Intent, Outbox, Signal};
use crate::rng::Random;
use crate::stats::Stats;
use crate::status::Status;
use crate::time::{Instant, TimeRules};
use crate::violation::{Unsound, Violation, check_rules};
use crate::wire::PING_LEN;
pub(crate) use events::Events;
pub(crate) use telemetry::Fit;

/// The version of the serialised shape of [`Cx`]. It counts up with each change of the shape.
pub(crate) const SHAPE: u32 = 7;

/// The context of all parts. Its fields are serialised in this order.
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
    /// The networks in which this node believes members to be; empty for all.
    pub(crate) allowed_networks: Networks,
    /// The records of all members.
    #[serde(with = "crate::membership::snapshot")]
    pub(crate) table: Membership<A>,
    /// Which nodes belong to the cluster.
    pub(crate) admission: Admission,
    pub(crate) tombstones: Tombstones,
    /// The rows that changed and are still to be gossiped. Every part that changes a row queues it.
    pub(crate) rumors: Rumors,
    pub(crate) proof: Proof,
    pub(crate) rng: Random,
    #[serde(skip, default = "Outbox::new")]
    pub(crate) outbox: Outbox<A>,
    pub(crate) events: Events<A>,
    pub(crate) stats: Stats,
}

/// The identity of this node.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct ThisNode<A> {
    pub(crate) id: NodeId,
    pub(crate) address: A,
    pub(crate) id_hash: IdHash,
    pub(crate) instance: Instance,
    /// The slot of its own row.
    pub(crate) slot: Slot,
}

impl<A: Address> ThisNode<A> {
    /// Checks that the table has the row of this node.
    fn check_restored(&self, table: &Membership<A>) -> Result<(), Unsound> {
        let Self { id, address, id_hash, instance, slot } = *self;
        let mut buf = [0; MAX_ADDRESS_LEN];
        let len = address.encode(&mut buf);
        let encoded = buf.get(..len).filter(|bytes| !bytes.is_empty());
        let own = table.me() == Some(slot) && table.is_in_use(slot);
        check_rules(
            "own row",
            &[
                (own && table.id(slot) == id, "it has the id of this node"),
                (id_hash == id.id_hash(), "its hash is that of the id"),
                (encoded.and_then(A::decode) == Some(address), "its address decodes to itself"),
                (own && table.row(slot).instance == instance, "it has the instance of this node"),
                (own && table.address(slot) == Some(address), "it has the address of this node"),
            ],
        )
    }
}

/// Whether the node takes part in the cluster.
///
/// ```text
///   Active --- the host leaves ---> Leaving --- that is gossiped, or time is up ---> Inactive
///     |  ^                                                                               ^
///     |  +--- the other process is gone ---+                                             |
///     +--- another process has its id ---> Waiting --- the host leaves ------------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Activity {
    /// The node is a member.
    Active,
    /// The node has said that it leaves, and stays until the rumor of it has been sent or this time
    /// comes.
    Leaving(Instant),
    /// The node has left.
    Inactive,
    /// Another process has the node's id. The node is no member, and asks at this time whether the
    /// other is still there.
    Waiting(Instant),
}

/// A part of the protocol, which is one folder. The node names its parts, and no call is dynamic.
pub(crate) trait Part<A: Address> {
    /// Returns the time at which [`on_timeout`](Self::on_timeout) has something to do next.
    fn deadline(&self, cx: &Cx<A>) -> Option<Instant>;
    /// Whether nothing is under way. This is not `deadline().is_none()`: a branch of the trees that
    /// has no partner waits without a deadline.
    fn is_idle(&self) -> bool;
    /// Does all that is due at `cx.now`.
    fn on_timeout(&mut self, cx: &mut Cx<A>);
    /// Forgets a member whose row is about to go.
    fn forget(&mut self, slot: Slot, cx: &mut Cx<A>);
    /// Returns the bytes of heap memory that the part holds, without queues of few entries of fixed
    /// size.
    fn heap_bytes(&self) -> usize;
    /// Checks the invariants within the part and between it and the context.
    fn check(&self, cx: &Cx<A>) -> Result<(), Violation>;
    /// Checks what a restored state could get wrong beside the invariants: every value that the
    /// part reads later must be one that it could have written.
    fn check_restored(&self, cx: &Cx<A>) -> Result<(), Unsound>;
}

impl<A: Address> Cx<A> {
    /// Returns the rules for the times in a restored state.
    pub(crate) fn time_rules(&self) -> TimeRules {
        TimeRules { now: self.now }
    }

    /// Checks the context of a restored node. The table comes first, since it says which slots are
    /// in use.
    pub(crate) fn check_restored(&self) -> Result<(), Unsound> {
        let Self {
            now: _,
            config,
            this,
            activity,
            table,
            admission,
            allowed_networks: _,
            tombstones,
            rumors,
            proof: _,
            rng: _,
            outbox: _,
            events,
            stats,
        } = self;
        let times = self.time_rules();
        check_rules("time", &[(times.is_time(), "it is within the time of a node")])?;
        table.check_restored(config.max_members, times)?;
        this.check_restored(table)?;
        rumors.check_restored(table.rows(), |slot| table.is_in_use(slot))?;
        let leaves_at = match *activity {
            Activity::Leaving(until) | Activity::Waiting(until) => Some(until),
            Activity::Active | Activity::Inactive => None,
        };
        check_rules(
            "context",
            &[
                (times.are_deadlines(&[leaves_at]), "a leave ends, and so does a wait"),
                (
                    admission.is_sound(times)
                        && table.slots().all(|slot| admission.admits(table.row(slot).id())),
                    "the cluster config is sorted and names every member; knocks are past",
                ),
                (tombstones.is_sound(times), "each tombstone ends, and is listed once"),
                (events.drops.is_sound(times), "drops were told in the past, by reason"),
                (stats.is_sound(), "no counter is near its end"),
            ],
        )
    }

    /// Queues an event; one for which there is no room is dropped and counted.
    pub(crate) fn emit(&mut self, event: Event<A>) {
        if !self.events.push(event) {
            self.stats.events_shed += 1;
        }
    }

    /// Counts something that is dropped, and tells the host once in a while.
    #[cold]
    pub(crate) fn dropped(&mut self, reason: DropReason, from: Option<A>) {
        if let Some(dropped) = self.events.drops.add(reason, from, self.now) {
            self.emit(Event::Dropped { dropped });
        }
    }

    /// Queues the change of a member's telemetry, which was known up to version `since` before.
    pub(crate) fn queue_change(&mut self, slot: Slot, since: u64) {
        let version = self.table.row(slot).telemetry_version();
        if !self.events.push_change(slot, since, version) {
            self.stats.events_shed += 1;
        }
    }

    /// Returns a new request id. A peer cannot guess it, so an answer that repeats it proves that
    /// its sender has received the request.
    pub(crate) fn request_id(&mut self) -> RequestId {
        RequestId(self.rng.word())
    }

    /// Returns a random duration below `span`.
    pub(crate) fn jitter(&mut self, span: Duration) -> Duration {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.rng.micros_below(micros))
    }

    /// Returns the number of live members besides this node.
    pub(crate) fn others(&self) -> u32 {
        self.table.live().saturating_sub(u32::from(self.table.is_live(self.this.slot)))
    }

    /// Whether there are live members besides this node.
    #[inline]
    pub(crate) fn has_others(&self) -> bool {
        self.table.live() > 1 || self.others() > 0
    }

    /// Returns how often each rumor is sent in a cluster of this size.
    pub(crate) fn send_limit(&self) -> u8 {
        send_limit(self.config.retransmit_multiplier, self.table.live())
    }

    /// Returns how long a change takes to reach all members in a cluster of this size.
    #[inline]
    pub(crate) fn spread_time(&self) -> Duration {
        self.config.spread_time(self.table.live())
    }

    /// Returns the most bytes of a datagram.
    pub(crate) fn mtu(&self) -> usize {
        self.config.mtu.into()
    }

    /// Returns the most bytes of a reply to a receiver that sent `sent` bytes: a whole datagram if
    /// its address is verified, and otherwise [`AMPLIFICATION`] times what it sent.
    pub(crate) fn limit_to(&self, receiver: Option<Slot>, sent: usize) -> usize {
        let verified = receiver.is_some_and(|slot| self.table.row(slot).answered.directly());
        if verified { self.mtu() } else { self.mtu().min(AMPLIFICATION * sent) }
    }

    /// Whether a member has answered a number that was sent to it. The stand-alone parts know no
    /// proof: their host answers for the members that it names.
    pub(crate) fn is_proved(&self, slot: Slot) -> bool {
        !self.asks_for_proof() || self.table.is_proved(slot)
    }

    /// Whether a member has answered since it was last dead.
    pub(crate) fn is_proved_alive(&self, slot: Slot) -> bool {
        !self.asks_for_proof() || self.table.is_proved_alive(slot)
    }

    /// Whether a member may be sent more than bare pings and replies: its address is right. Members
    /// from the pages of a join get there by answering, mostly at once.
    pub(crate) fn may_tell(&self, slot: Slot) -> bool {
        !self.asks_for_proof() || self.table.is_verified(slot)
    }

    /// Whether other nodes are told of a member: of a live one only once it has answered.
    pub(crate) fn is_told(&self, slot: Slot) -> bool {
        !self.asks_for_proof() || self.table.is_told(slot)
    }

    /// Whether a member has left so lately that what it published before may still be under way.
    pub(crate) fn left_lately(&self, slot: Slot) -> bool {
        let age = self.tombstones.age(slot, self.now, self.config.tombstone_ttl);
        self.table.status(slot) == Status::Left && age < self.spread_time() * 2
    }

    /// Whether this node believes only in members that have answered.
    pub(crate) fn asks_for_proof(&self) -> bool {
        self.config.mode == Mode::Autonomous
    }

    /// Whether a member may be at `address`, as far as this node believes others.
    pub(crate) fn believes(&self, address: &A) -> bool {
        believes(&self.this.address, address, &self.allowed_networks)
    }

    /// Returns the other member that has this id hash and listens at `from`, if there is one.
    pub(crate) fn member_at(&self, id_hash: IdHash, from: A) -> Option<Slot> {
        self.table
            .with_id_hash(id_hash)
            .find(|&slot| slot != self.this.slot && self.table.row(slot).is_at(&from))
    }

    /// Returns the address of the proved member with this id hash.
    pub(crate) fn proved_address(&self, id_hash: IdHash) -> Option<A> {
        let mut members = self.table.with_id_hash(id_hash);
        members.find(|&slot| self.is_proved(slot)).and_then(|slot| self.table.address(slot))
    }

    /// Queues a request; one for which the outbox has no room is shed and counted.
    pub(crate) fn ask(&mut self, intent: Intent<A>) {
        if !self.outbox.request(intent) {
            self.stats.outbox_shed += 1;
        }
    }

    /// Queues a reply and its diff; false if the outbox has no room for it, in which case it is
    /// shed and counted.
    pub(crate) fn reply(&mut self, intent: Intent<A>, diff: Diff) -> bool {
        let queued = self.outbox.reply(intent, diff);
        if !queued {
            self.stats.outbox_shed += 1;
        }
        queued
    }

    /// Queues gossip; false if the outbox has no room for it, in which case it is shed and counted.
    pub(crate) fn gossip(&mut self, intent: Intent<A>) -> bool {
        let queued = self.outbox.gossip(intent);
        if !queued {
            self.stats.outbox_shed += 1;
        }
        queued
    }

    /// Pings a member with this request id, if its address is known.
    pub(crate) fn ping(&mut self, slot: Slot, request_id: RequestId) {
        self.ping_within(slot, request_id, self.mtu());
    }

    /// Asks a helper to ping a member at this address.
    pub(crate) fn ask_through(
        &mut self,
        helper: Slot,
        request_id: RequestId,
        target: IdHash,
        address: A,
    ) {
        if let Some(to) = self.table.address(helper) {
            let signal = Signal::PingReq(request_id, target, address);
            self.ask(Intent::new(to, Some(helper), self.mtu()).with_signal(signal));
        }
    }

    fn ping_within(&mut self, slot: Slot, request_id: RequestId, limit: usize) {
        if let Some(to) = self.table.address(slot) {
            // A peer that made the address up can choose nothing in a bare ping but the id hash.
            let limit = if self.may_tell(slot) { limit } else { PING_LEN };
            let signal = Signal::Ping(request_id, self.table.id_hash(slot));
            self.ask(Intent::new(to, Some(slot), limit).with_signal(signal));
        }
    }

    /// Pings a suspected or dead member; the ping carries the claim that this node holds about it.
    /// The ack verifies its address and nothing more: only the claim that comes with it can refute.
    pub(crate) fn status_ping(&mut self, slot: Slot) {
        self.status_ping_within(slot, self.mtu());
    }

    /// As [`status_ping`](Self::status_ping), in a datagram of at most `limit` bytes.
    pub(crate) fn status_ping_within(&mut self, slot: Slot, limit: usize) {
        let address = self.table.address(slot);
        let request_id = address.and_then(|address| self.proof.challenge(address, self.now));
        self.ping_within(slot, request_id.unwrap_or_default(), limit);
    }
}

/// Returns the earlier of two times, as far as there are any.
pub(crate) fn sooner(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (Some(at), None) | (None, Some(at)) => Some(at),
        (None, None) => None,
    }
}
