//! Reading a datagram: its frames in order, and the one reply to it.
//!
//! ```text
//!   bytes --- parse ---> lead (a ping or an ack) ---> other frames ---> reply, accusers, flights
//!               |                                                          |
//!               +--- malformed: an error, nothing changed                  v
//!                                                         fingerprints of a member that answered
//! ```
//!
//! A datagram is validated as a whole before any of its frames takes effect. The frames are handed
//! to the parts that decide; the [`Reply`] collects what they ask to be sent back.

use arrayvec::ArrayVec;

use super::Node;
use super::apply::Applied;
use crate::address::Address;
use crate::anti_entropy::diff::differing;
use crate::anti_entropy::join::Paged;
use crate::config::Mode;
use crate::cx::Activity;
use crate::detector::Acked;
use crate::dissemination::acknowledge;
use crate::error::WireError;
use crate::id::{IdHash, Instance, RequestId};
use crate::membership::Slot;
use crate::outbox::{Body, Diff, Intent, Signal, Want};
use crate::status::Status;
use crate::wire::decode::{Datagram, Frame, Lead};
use crate::wire::items::ClaimsIn;
use crate::wire::{Ack, PING_REQ_LEN, Page, Ping, Tree};

/// For one datagram, request missing telemetry from at most this many owners. Anti-entropy finds
/// the rest.
const MAX_TELEMETRY_REQUESTS: usize = 8;

/// The reply to one datagram, as its frames ask for it.
pub(super) struct Reply<A> {
    /// The table slot of the sender, if its id and source address match a known member.
    sender: Option<Slot>,
    signal: Signal<A>,
    body: Body,
    diff: Diff,
    /// Whether the sender sent an outdated claim about itself, and is held suspected, dead or left.
    correct_sender: bool,
    /// The request id, the id hash and the address of a member to ping on the sender's behalf. At
    /// most one per datagram, so that one datagram cannot cause many.
    ping_req: Option<(RequestId, IdHash, A)>,
    /// Whether a claim about this node itself was among the claims.
    about_self: bool,
    /// Whether the sender has proved its address by the answer to a ping of its own.
    verified: bool,
    /// The tree frame, if the datagram is part of a flight.
    pub(super) tree: Option<Tree>,
    /// Requests for the telemetry that is missing before the updates of the flight.
    pub(super) missing: ArrayVec<Want, MAX_TELEMETRY_REQUESTS>,
}

impl<A> Reply<A> {
    fn new(sender: Option<Slot>) -> Self {
        Self {
            sender,
            signal: Signal::None,
            body: Body::None,
            diff: Diff::default(),
            correct_sender: false,
            ping_req: None,
            about_self: false,
            verified: false,
            tree: None,
            missing: ArrayVec::new(),
        }
    }
}

/// The body of a reply in a session: with requests, or done.
///
/// An asker that sends rows asks for a confirmation even if it requests no row: only when its
/// datagram is encoded is it known whether all rows fit, and the confirmation repeats that flag.
const fn closing(request_id: RequestId, diff: Diff, asker: bool) -> Body {
    if diff.wants > 0 || (asker && diff.items > 0) {
        Body::SyncWants(request_id, diff)
    } else {
        Body::SyncDone(request_id, diff)
    }
}

impl<A: Address> Node<A> {
    /// Handles a datagram.
    pub(super) fn receive(&mut self, from: A, bytes: &[u8]) -> Result<(), WireError> {
        let (table, stats) = (&mut self.cx.table, &mut self.cx.stats);
        // Claims that the table holds already are passed over while the datagram is validated.
        let datagram =
            Datagram::<A>::parse(bytes, self.cx.config.label, |claims| table.pass_over(claims))
                .inspect_err(|error| match error {
                    WireError::Version(_) => stats.datagrams_other_version += 1,
                    WireError::Label => stats.datagrams_other_label += 1,
                    _ => stats.datagrams_malformed += 1,
                })?;
        if self.cx.activity == Activity::Inactive {
            stats.datagrams_while_inactive += 1;
            return Ok(());
        }
        stats.datagrams_received += 1;
        stats.bytes_received += bytes.len() as u64;
        // Ignore the contents of datagrams from this node's own address.
        if from != self.cx.this.address {
            self.apply_datagram(from, &datagram, false);
        }
        Ok(())
    }

    /// Applies a valid datagram. `verified` says that its sender has just proved its address, which
    /// the table may not tell yet.
    #[inline]
    pub(super) fn apply_datagram(&mut self, from: A, datagram: &Datagram<'_, A>, verified: bool) {
        let sender = self.cx.member_at(IdHash(datagram.sender), from);
        if let Some(slot) = sender {
            self.cx.table.heard(slot, self.cx.now, false);
            self.hear_clock(slot, datagram.clock);
        }
        let mut reply = Reply::new(sender);
        reply.verified = verified;
        // Most datagrams are a ping or an ack and nothing else. That frame was read by `parse`.
        let mut answered = match datagram.lead {
            Lead::Ping(ping) => {
                self.on_ping(ping, &mut reply);
                None
            }
            Lead::Ack(ack) => self.on_ack(from, datagram, ack),
            Lead::None => None,
        };
        if datagram.goes_on() {
            self.read_on(from, datagram, &mut reply, &mut answered);
        }
        if let Some(slot) = reply.sender.filter(|_| verified) {
            self.cx.table.heard(slot, self.cx.now, true);
        }
        self.send_reply(from, datagram, &reply);
        self.tell_accusers();
        self.dissemination.send_flights(&mut self.cx);
        // A member that answered our probe is a partner to compare tables with.
        if let Some(slot) = answered {
            self.anti_entropy.compare_fingerprints(slot, datagram.fingerprints, &mut self.cx);
        }
        let plain = match datagram.lead {
            Lead::Ping(_) => true,
            Lead::Ack(_) => answered.is_some() && self.anti_entropy.session.is_none(),
            Lead::None => false,
        };
        // A plain ping or ack begins nothing, so `quiet` need not be computed anew.
        if !plain || datagram.goes_on() {
            self.quiet = self.is_quiet();
        }
    }

    /// Reads the frames after the lead. Most datagrams have none, so this is kept out of line.
    #[inline(never)]
    fn read_on(
        &mut self,
        from: A,
        datagram: &Datagram<'_, A>,
        reply: &mut Reply<A>,
        answered: &mut Option<Slot>,
    ) {
        for frame in datagram.following() {
            if self.cx.config.mode == Mode::ProbeOnly && !frame.is_signal() {
                continue;
            }
            self.frame(from, datagram, frame, reply, answered);
        }
        let id_hash = IdHash(datagram.sender);
        if let Some((theirs, target, address)) = reply.ping_req {
            let (asker, target) = ((from, id_hash), (address, target));
            self.detector.on_ping_req(asker, theirs, target, datagram.len, &mut self.cx);
        }
        if let Some(tree) = reply.tree.filter(|_| reply.body == Body::None) {
            (reply.body, reply.diff) = acknowledge(tree, &reply.missing, &mut self.cx);
        }
        if reply.sender.is_none() {
            // The sender may have introduced itself in this very datagram.
            reply.sender = self.cx.member_at(id_hash, from);
            if let Some(slot) = reply.sender.filter(|_| self.detector.schedule.clock.is_fresh()) {
                self.hear_clock(slot, datagram.clock);
            }
        }
    }

    /// Hears the round clock of the sender.
    fn hear_clock(&mut self, slot: Slot, clock: u32) {
        let local_health = self.detector.local_health;
        self.detector.schedule.hear_clock(slot, clock, local_health, &self.cx);
    }

    /// Hands one frame to the part that decides about it.
    fn frame(
        &mut self,
        from: A,
        datagram: &Datagram<'_, A>,
        frame: Frame<'_, A>,
        reply: &mut Reply<A>,
        answered: &mut Option<Slot>,
    ) {
        match frame {
            Frame::Ping(ping) => self.on_ping(ping, reply),
            Frame::Ack(ack) => *answered = self.on_ack(from, datagram, ack).or(*answered),
            Frame::Nack(nack) => self.detector.on_nack(from, RequestId(nack.number)),
            Frame::PingReq { number, target, address } => {
                // Only the first ping-req of a datagram counts. It is served after the other
                // frames.
                reply.ping_req.get_or_insert((RequestId(number), IdHash(target), address));
            }
            Frame::Claims(claims) => self.on_claims(from, claims, reply),
            Frame::Telemetry(compacted, head, entries) => {
                self.apply_telemetry(from, compacted, head, entries, reply);
            }
            Frame::Tree(tree) => {
                // A node that does not pass telemetry on does not acknowledge it, so that the
                // sender chooses another partner.
                reply.tree = Some(tree).filter(|_| self.cx.config.mode == Mode::Autonomous);
            }
            Frame::TreeAck(ack) => {
                self.dissemination.on_tree_ack(reply.sender, ack, &mut self.cx);
            }
            Frame::PageRequest(request) => {
                let request_id = RequestId(request.number);
                // Only first pages count against the limit: a newcomer that has begun with pages
                // gets all of them.
                let whole = request.from != 0 || self.anti_entropy.pages.give(self.cx.now);
                reply.body = if whole {
                    Body::Page(request_id, IdHash(request.from))
                } else {
                    Body::Piece(request_id, IdHash(self.cx.rng.word()))
                };
            }
            Frame::Page(page) => self.on_page(from, page, reply),
            Frame::Unknown => self.cx.stats.frames_unknown += 1,
            sync => self.on_sync(from, datagram, sync, reply),
        }
    }

    /// Handles the frames of sync sessions, both of the session that this node opened and of those
    /// that partners opened.
    fn on_sync(
        &mut self,
        from: A,
        datagram: &Datagram<'_, A>,
        frame: Frame<'_, A>,
        reply: &mut Reply<A>,
    ) {
        let session = self.anti_entropy.session_with(from);
        let theirs = datagram.fingerprints;
        let (cx, anti_entropy) = (&mut self.cx, &mut self.anti_entropy);
        match frame {
            Frame::SyncOpen(open) => {
                let more = theirs != cx.table.fingerprints();
                let diff = Diff { more, ..Diff::default() };
                reply.body = Body::SyncDone(RequestId(open.number), diff);
            }
            Frame::SyncDigest(head, sums) => {
                let mask = differing(&cx.table, sums);
                reply.body = Body::SyncVersions(RequestId(head.number), mask);
            }
            Frame::SyncVersions(head, ranges) => {
                let request_id = RequestId(head.number);
                // A datagram has one reply: the diff of an earlier sync frame is dropped with its
                // body.
                cx.outbox.diffs.revoke(core::mem::take(&mut reply.diff));
                // Compare even if the fingerprints are equal: they do not cover dead members.
                reply.diff = cx.outbox.diffs.compare(&cx.table, ranges);
                reply.diff.more |= head.more;
                let (diff, asker) = (reply.diff, session == Some(request_id));
                reply.body = closing(request_id, diff, asker);
                if asker {
                    let none = diff == Diff::default();
                    anti_entropy.on_session_reply(theirs, diff.more, !none, none, cx);
                }
            }
            Frame::SyncWants(head, wants) => {
                let request_id = RequestId(head.number);
                let asker = session == Some(request_id);
                cx.outbox.diffs.revoke(core::mem::take(&mut reply.diff));
                reply.diff = cx.outbox.diffs.grant(&cx.table, wants);
                if !asker {
                    // Repeat the asker's own flag in the reply: the asker keeps the session, and
                    // did not know that its rows would not fit when it sent them.
                    reply.diff.more |= head.more;
                }
                reply.body = closing(request_id, reply.diff, asker);
                if asker {
                    let ends = reply.diff.items == 0;
                    anti_entropy.on_session_reply(theirs, head.more, true, ends, cx);
                }
            }
            Frame::SyncDone(done) if session == Some(RequestId(done.number)) => {
                anti_entropy.on_session_reply(theirs, done.more, done.more, true, cx);
            }
            _ => {}
        }
    }

    /// Applies the claims of a frame.
    fn on_claims(&mut self, from: A, claims: ClaimsIn<'_, A>, reply: &mut Reply<A>) {
        let rumor = self.anti_entropy.hears_rumors_from(from);
        for claim in claims {
            // Only the first claim about this node counts: a datagram with many must not raise its
            // generation many times.
            if claim.id == self.cx.this.id.as_str()
                && core::mem::replace(&mut reply.about_self, true)
            {
                continue;
            }
            // A sender that does not know that it is suspected or dead must learn of it.
            if let Applied::Stale(slot) = self.apply_claim(&claim, rumor)
                && self.cx.table.status(slot) != Status::Alive
                && reply.sender == Some(slot)
            {
                reply.correct_sender = true;
            }
        }
    }

    /// Acknowledges a ping. A ping for another id gets no answer, or its sender would take that
    /// member for alive.
    fn on_ping(&self, ping: Ping, reply: &mut Reply<A>) {
        if ping.target == self.cx.this.id_hash.0 {
            reply.signal = Signal::Ack(RequestId(ping.number), self.cx.this.instance);
        }
    }

    /// Handles an ack, which answers a ping of the detector or a challenge. Returns the member
    /// whose fingerprints are to be compared.
    fn on_ack(&mut self, from: A, datagram: &Datagram<'_, A>, ack: Ack) -> Option<Slot> {
        let (request_id, instance) = (RequestId(ack.number), Instance(ack.instance));
        match self.detector.on_ack(from, request_id, instance, &mut self.cx) {
            Acked::Compare(slot) => return Some(slot),
            Acked::Matched => return None,
            Acked::Unmatched => {}
        }
        let cx = &mut self.cx;
        let proves = self.freshness.answered == Some(request_id);
        if proves || cx.proof.is_answer(from, request_id, cx.now) {
            if let Some(slot) = cx.member_at(IdHash(datagram.sender), from) {
                cx.table.heard(slot, cx.now, true);
            }
        } else {
            cx.stats.acks_unmatched += 1;
        }
        None
    }

    /// Handles a page of a seed.
    fn on_page(&mut self, from: A, page: Page, reply: &mut Reply<A>) {
        match self.anti_entropy.on_page(from, page, &mut self.cx) {
            Paged::Ask(body) => reply.body = body,
            // Within the spread time the other members learn of this node. Before that, they would
            // not take its telemetry in.
            Paged::Complete => {
                self.dissemination.first_publish_at = Some(self.cx.now + self.cx.spread_time());
            }
            Paged::Unrelated => {}
        }
    }

    /// Queues the reply, if there is anything to send back, within the limit on bytes to a sender
    /// that has not proved its address.
    fn send_reply(&mut self, to: A, datagram: &Datagram<'_, A>, reply: &Reply<A>) {
        let Reply { sender, signal, mut body, diff, correct_sender, ping_req, .. } = *reply;
        let cx = &mut self.cx;
        if signal == Signal::None && body == Body::None {
            if !correct_sender {
                return;
            }
            body = Body::Rumors;
        }
        let verified = reply.verified || sender.is_some_and(|slot| cx.table.row(slot).verified);
        // A ping on the sender's behalf also costs bytes, so it takes its share of the allowance.
        let spent = if ping_req.is_some() { PING_REQ_LEN.min(datagram.len) } else { 0 };
        let limit = if verified { cx.mtu() } else { cx.limit_to(sender, datagram.len - spent) };
        let unproved = !verified && !matches!(body, Body::None | Body::Rumors);
        let challenge = if unproved { cx.proof.challenge(to, cx.now) } else { None };
        let challenge = challenge.map(|request_id| (request_id, IdHash(datagram.sender)));
        // A member with the sender's id, known at another address: two processes have one id, or
        // the member has moved. Either must learn of the claim that is held.
        let namesake = || {
            let id_hash = IdHash(datagram.sender);
            cx.table.with_id_hash(id_hash).find(|&slot| slot != cx.this.slot)
        };
        let member = sender.or_else(namesake);
        cx.reply(Intent { to, member, signal, challenge, body, limit }, diff);
    }
}
