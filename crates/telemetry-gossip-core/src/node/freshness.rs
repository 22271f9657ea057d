//! Which sealed datagrams are fresh: nothing that was recorded on the wire is taken for news.
//!
//! A seal proves who wrote a datagram, and not when. So each nonce prefix (one run of a sender's
//! seal) proves itself to this node first: by a datagram that repeats, under the seal, a number
//! which this node drew and sent. All that the sender seals after that answer is fresh, and the
//! replay window of the seal takes each such datagram once.
//!
//! ```text
//!   proved ----------------------------------------------------------> taken whole
//!   not proved: repeats a number of ours ------ the prefix is proved --> taken whole
//!               a ping of this node ----------> a bare ack, nothing is taken
//!               anything else ----------------> parked, and its source is pinged
//!                                                  |
//!                  that ping is answered shortly --+-- no answer: it lapses
//!                  taken, one round trip late
//! ```
//!
//! - *A recording* repeats no number of today's, so it gets a bare ack at most. That a living
//!   sender answers the ping does not help it: what is parked counts only if it was sealed shortly
//!   before the answer, by the counter and by the round clock of the sender, which are both sealed.
//! - *Accusations* of this node wait like other claims. They are answered one round trip later,
//!   while an old one would make this node refute what no node says any more.
//! - *A proof ages*: a datagram that was kept back may be as old as the proof before it. A proof is
//!   renewed by any later answer, and lapses in a quarter of the time for which dead members are
//!   remembered, so that what passes is never about a member that is forgotten meanwhile.
//!
//! Where the proofs are kept is up to the host: it passes the age of the proof in with a datagram,
//! and takes new proofs from [`Node::poll_proof`].

use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::Node;
use crate::address::Address;
use crate::config::{Config, Mode};
use crate::cx::Activity;
use crate::error::WireError;
use crate::id::{IdHash, RequestId, keyed_hash};
use crate::input::Stamp;
use crate::outbox::{Diff, Intent, Signal};
use crate::time::{Instant, TimeRules};
use crate::wire::decode::{Datagram, Frame, Lead};
use crate::wire::{HEADER_LEN, LEAD_LEN};

/// The version of the serialised shape of [`Freshness`]. It counts up with each change of the
/// shape.
pub(super) const SHAPE: u32 = 1;

/// The most datagrams that are parked, one per nonce prefix.
const MAX_PARKED: usize = 64;

/// The most bytes of a datagram that is parked, unless this node sends longer ones itself.
const MAX_PARKED_BYTES: usize = 1_500;

/// The shares among which the prefixes without a proof are spread, anew in each second. A flood of
/// recordings of a few prefixes keeps newcomers out of the shares of those only.
const SHARES: usize = 32;

/// The most datagrams without a proof that are looked at per second and share. A flood costs no
/// more than all shares, and hardly ever meets a number of 32 bits that is awaited.
const MAX_PER_SHARE: u16 = 64;

/// The most datagrams that a sender seals between one that is parked and its answer to our ping.
const MAX_PARKED_LAG: u64 = 1_024;

/// The most time between the two by the round clock of the sender, in its ticks: four rounds.
const MAX_PARKED_TICKS: u32 = 4 * 256;

/// The mask of the round clock on the wire.
const CLOCK_MASK: u32 = 0xff_ffff;

/// The longest time for which a proof counts.
const MAX_PROOF_AGE: Duration = Duration::from_secs(3_600);

/// Returns how long a proof counts.
fn proof_span(config: &Config) -> Duration {
    (config.tombstone_ttl / 4).min(MAX_PROOF_AGE)
}

/// A datagram that waits until its sender has answered a ping.
#[derive(Debug, Serialize, Deserialize)]
struct Parked<A> {
    stamp: Stamp,
    from: A,
    /// The request id of the ping, which was drawn for it.
    request_id: RequestId,
    asked_at: Instant,
    /// The round clock in the datagram.
    clock: u32,
    bytes: Vec<u8>,
}

impl<A> Parked<A> {
    /// Whether it was sealed shortly before an answer with this stamp and round clock.
    fn is_shortly_before(&self, stamp: Stamp, clock: u32) -> bool {
        let lag = stamp.counter.checked_sub(self.stamp.counter);
        let ticks = clock.wrapping_sub(self.clock) & CLOCK_MASK;
        stamp.prefix == self.stamp.prefix
            && lag.is_some_and(|lag| (1..=MAX_PARKED_LAG).contains(&lag))
            && ticks <= MAX_PARKED_TICKS
    }
}

/// What is under way with senders that have not proved their nonce prefix.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Freshness<A> {
    parked: Vec<Parked<A>>,
    /// When the current second began.
    second: Instant,
    /// The datagrams without a proof in this second, by shares.
    looked_at: [u16; SHARES],
    /// The request id that the present datagram answers, if it is that of a parked one.
    #[serde(skip)]
    pub(super) answered: Option<RequestId>,
    /// The proof by the latest datagram, until the host takes it.
    #[serde(skip)]
    proof: Option<Stamp>,
}

impl<A: Address> Freshness<A> {
    pub(super) const fn new() -> Self {
        Self {
            parked: Vec::new(),
            second: Instant::ORIGIN,
            looked_at: [0; SHARES],
            answered: None,
            proof: None,
        }
    }

    /// Whether the restored state is within its bounds.
    pub(super) fn is_sound(&self, times: TimeRules) -> bool {
        let Self { parked, second, looked_at: _, answered: _, proof: _ } = self;
        let asked = |parked: &Parked<A>| times.is_past(parked.asked_at);
        parked.len() <= MAX_PARKED && times.is_past(*second) && parked.iter().all(asked)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.parked.capacity() * size_of::<Parked<A>>()
            + self.parked.iter().map(|parked| parked.bytes.capacity()).sum::<usize>()
    }

    /// The number of parked datagrams, and the most that there may be.
    pub(super) const fn bound(&self) -> (usize, usize) {
        (self.parked.len(), MAX_PARKED)
    }

    /// Counts a datagram of a prefix without a proof; false if there were too many in this second.
    fn admits(&mut self, prefix: [u8; 16], now: Instant) -> bool {
        if now.since(self.second) >= Duration::from_secs(1) {
            (self.second, self.looked_at) = (now, [0; SHARES]);
        }
        let share = keyed_hash([self.second.as_micros(), 0], &prefix) as usize % SHARES;
        let Some(count) = self.looked_at.get_mut(share) else { return false };
        *count = count.saturating_add(1);
        *count <= MAX_PER_SHARE
    }

    /// Drops the datagrams whose senders were pinged longer ago than this.
    fn drop_lapsed(&mut self, now: Instant, after: Duration) {
        self.parked.retain(|parked| now.since(parked.asked_at) <= after);
    }

    /// Takes out the parked datagram of this prefix.
    fn take(&mut self, prefix: [u8; 16]) -> Option<Parked<A>> {
        let at = self.parked.iter().position(|parked| parked.stamp.prefix == prefix)?;
        Some(self.parked.swap_remove(at))
    }

    /// Whether the prefix answers our ping under this request id.
    fn awaits(&self, prefix: [u8; 16], request_id: RequestId) -> bool {
        self.parked
            .iter()
            .any(|parked| parked.stamp.prefix == prefix && parked.request_id == request_id)
    }
}

impl<A: Address> Node<A> {
    /// Takes the stamp of the datagram that was handled last, if that proved its nonce prefix: the
    /// host keeps the proof, and passes its age in with later datagrams of the prefix.
    pub fn poll_proof(&mut self) -> Option<Stamp> {
        self.freshness.proof.take()
    }

    /// Handles a datagram that a seal has opened. `proof_age` is the time since its nonce prefix
    /// was proved, if it was.
    pub(super) fn receive_sealed(
        &mut self,
        from: A,
        stamp: Stamp,
        proof_age: Option<Duration>,
        bytes: &[u8],
    ) -> Result<(), WireError> {
        self.freshness.proof = None;
        self.freshness.drop_lapsed(self.cx.now, self.cx.config.probe_timeout * 2);
        let span = proof_span(&self.cx.config);
        let proved = proof_age.is_some_and(|age| age < span);
        let renewed = proof_age.is_some_and(|age| age < span / 2);
        if renewed && self.freshness.parked.is_empty() {
            // Nearly all datagrams of a running cluster.
            return self.receive(from, bytes);
        }
        let Ok(datagram) = Datagram::parse(bytes, self.cx.config.label, |claims| (0, claims))
        else {
            return self.receive(from, bytes);
        };
        let takes = matches!(self.cx.activity, Activity::Active | Activity::Leaving(_));
        if !takes || from == self.cx.this.address {
            return self.receive(from, bytes);
        }
        if !proved && !self.freshness.admits(stamp.prefix, self.cx.now) {
            return Ok(());
        }
        let awaited = self.awaited_ack(stamp, &datagram);
        let answers = awaited.is_some() || self.answers(from, &datagram);
        if !proved && !answers {
            self.receive_unproved(from, stamp, &datagram, bytes);
            return Ok(());
        }
        if !answers {
            return self.receive(from, bytes);
        }
        self.freshness.proof = Some(stamp);
        let parked = self.freshness.take(stamp.prefix);
        // The answer to a ping of that address also verifies the address.
        let same_place = parked.as_ref().is_some_and(|parked| parked.from == from);
        self.freshness.answered = awaited.filter(|_| same_place);
        let result = self.receive(from, bytes);
        let verified = self.freshness.answered.take().is_some();
        if let Some(parked) = parked.filter(|it| it.is_shortly_before(stamp, datagram.clock)) {
            self.receive_parked(&parked, verified);
        }
        result
    }

    /// Handles a datagram of a prefix that is proved by now.
    fn receive_parked(&mut self, parked: &Parked<A>, verified: bool) {
        let (table, label) = (&mut self.cx.table, self.cx.config.label);
        let parsed = Datagram::parse(&parked.bytes, label, |claims| table.pass_over(claims));
        if let Ok(mut datagram) = parsed {
            // A ping was answered when it came.
            if matches!(datagram.lead, Lead::Ping(_)) {
                datagram.lead = Lead::None;
            }
            self.apply_datagram(parked.from, &datagram, verified);
        }
    }

    /// Handles a datagram that may be a recording: it changes nothing that anyone sees.
    fn receive_unproved(
        &mut self,
        from: A,
        stamp: Stamp,
        datagram: &Datagram<'_, A>,
        bytes: &[u8],
    ) {
        self.cx.stats.datagrams_received += 1;
        self.cx.stats.bytes_received += bytes.len() as u64;
        let (mut signal, mut more) = (Signal::None, false);
        let only_signals = self.cx.config.mode == Mode::ProbeOnly;
        for frame in datagram.frames() {
            match frame {
                Frame::Ping(ping) if ping.target == self.cx.this.id_hash.0 => {
                    signal = Signal::Ack(RequestId(ping.number), self.cx.this.instance);
                }
                Frame::Ack(_) => self.cx.stats.acks_unmatched += 1,
                Frame::Ping(_) | Frame::Nack(_) | Frame::Unknown => {}
                Frame::PingReq { .. } => more = true,
                _ => more |= !only_signals,
            }
        }
        more &= bytes.len() <= self.cx.mtu().max(MAX_PARKED_BYTES);
        let challenge = if more { self.park(from, stamp, datagram.clock, bytes) } else { None };
        let leads = usize::from(signal != Signal::None) + usize::from(challenge.is_some());
        if leads > 0 {
            // As long as it must be: no rumor is spent on a sender that may be long gone.
            let limit = HEADER_LEN + leads * LEAD_LEN;
            let challenge = challenge.map(|request_id| (request_id, IdHash(datagram.sender)));
            let reply = Intent { challenge, ..Intent::new(from, None, limit).with_signal(signal) };
            self.cx.reply(reply, Diff::default());
        }
    }

    /// Parks a datagram, in place of an earlier one of its prefix. Returns the request id of the
    /// ping to send to its source; `None` if such a ping is under way.
    fn park(&mut self, from: A, stamp: Stamp, clock: u32, bytes: &[u8]) -> Option<RequestId> {
        let (now, timeout) = (self.cx.now, self.cx.config.probe_timeout);
        let parked = &mut self.freshness.parked;
        let held = parked.iter().position(|parked| parked.stamp.prefix == stamp.prefix);
        if let Some(held) = held.and_then(|at| parked.get_mut(at)) {
            if stamp.counter < held.stamp.counter {
                return None;
            }
            let waits = held.from == from && now.since(held.asked_at) < timeout;
            (held.stamp, held.from, held.clock, held.bytes) = (stamp, from, clock, bytes.to_vec());
            if waits {
                return None;
            }
        }
        let request_id = self.cx.request_id();
        let place = match held {
            Some(at) => at,
            None if self.freshness.parked.len() >= MAX_PARKED => self.cx.rng.below(MAX_PARKED),
            None => self.freshness.parked.len(),
        };
        let entry = Parked { stamp, from, request_id, asked_at: now, clock, bytes: bytes.to_vec() };
        match self.freshness.parked.get_mut(place) {
            Some(held) => *held = entry,
            None => self.freshness.parked.push(entry),
        }
        Some(request_id)
    }

    /// The request id of our ping to the parked prefix, if the datagram acknowledges it.
    fn awaited_ack(&self, stamp: Stamp, datagram: &Datagram<'_, A>) -> Option<RequestId> {
        if self.freshness.parked.is_empty() {
            return None;
        }
        datagram.frames().find_map(|frame| match frame {
            Frame::Ack(ack) => Some(RequestId(ack.number))
                .filter(|&request_id| self.freshness.awaits(stamp.prefix, request_id)),
            _ => None,
        })
    }

    /// Whether the datagram repeats a number that this node drew and sent, and awaits from there.
    fn answers(&self, from: A, datagram: &Datagram<'_, A>) -> bool {
        let Self { cx, detector, anti_entropy, dissemination, id_conflict, newcomers, .. } = self;
        datagram.frames().any(|frame| match frame {
            Frame::Ack(ack) => {
                let request_id = RequestId(ack.number);
                detector.awaits(from, request_id, cx)
                    || newcomers.awaits(request_id)
                    || id_conflict.awaits_ack(from, request_id)
                    || cx.proof.is_answer(from, request_id, cx.now)
            }
            Frame::Nack(nack) => detector.awaits_nack(from, RequestId(nack.number)),
            Frame::Page(page) => anti_entropy.awaits_page(from, RequestId(page.number)),
            Frame::SyncSums(head, _) => anti_entropy.awaits(from, RequestId(head.number)),
            Frame::SyncVersions(head, _) => anti_entropy.awaits(from, RequestId(head.number)),
            Frame::SyncWants(head, _) => anti_entropy.awaits(from, RequestId(head.number)),
            Frame::SyncDone(done) => {
                let request_id = RequestId(done.number);
                anti_entropy.awaits(from, request_id)
                    || detector.hearsay.awaits(from, request_id)
                    || id_conflict.awaits_vote(from, request_id)
            }
            Frame::TreeAck(ack) => cx
                .member_at(IdHash(datagram.sender), from)
                .is_some_and(|slot| dissemination.trees.awaits(slot, RequestId(ack.number))),
            _ => false,
        })
    }
}
