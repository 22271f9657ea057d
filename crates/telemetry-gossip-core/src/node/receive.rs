//! A datagram: its frames in order, and the one reply to it.

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

/// What the frames of one datagram call for.
pub(super) struct Reply<A> {
    /// The table slot of the sender, if its id and source address match a known member.
    sender: Option<Slot>,
    signal: Signal<A>,
    body: Body,
    diff: Diff,
    /// The sender holds something about a member that is known better here.
    correct_sender: bool,
    /// A member to ping on the sender's behalf: one per datagram, so that a datagram cannot make
    /// many of one.
    ping_req: Option<(RequestId, IdHash, A)>,
    /// A claim about this node itself was among them.
    about_self: bool,
    /// The datagram is part of a flight.
    pub(super) tree: Option<Tree>,
    /// Telemetry that is missing before what the flight brought.
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
            tree: None,
            missing: ArrayVec::new(),
        }
    }
}

/// The end of a reply in a session. An asker that sends anything wants it confirmed, even if it
/// wants nothing else: only once its datagram is encoded is it known whether all fits, and the
/// confirmation tells it.
const fn closing(number: RequestId, diff: Diff, asker: bool) -> Body {
    if diff.wants > 0 || (asker && diff.items > 0) {
        Body::SyncWants(number, diff)
    } else {
        Body::SyncDone(number, diff)
    }
}

impl<A: Address> Node<A> {
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
        // What comes from this node's own address counts for nothing.
        if from == self.cx.this.address {
            return Ok(());
        }
        let sender = self.cx.member_at(IdHash(datagram.sender), from);
        if let Some(slot) = sender {
            self.cx.table.heard(slot, self.cx.now, false);
            self.hear_clock(slot, datagram.clock);
        }
        let mut reply = Reply::new(sender);
        // Most datagrams are a ping or an ack and nothing else: that frame was read already.
        let mut answered = match datagram.lead {
            Lead::Ping(ping) => {
                self.on_ping(ping, &mut reply);
                None
            }
            Lead::Ack(ack) => self.on_ack(from, &datagram, ack),
            Lead::None => None,
        };
        if datagram.goes_on() {
            self.read_on(from, &datagram, &mut reply, &mut answered);
        }
        self.send_reply(from, &datagram, &reply);
        self.tell_accusers();
        self.dissemination.send_flights(&mut self.cx);
        // A member that answered a question of ours is a partner to compare with.
        if let Some(slot) = answered {
            self.anti_entropy.compare_fingerprints(slot, datagram.fingerprints, &mut self.cx);
        }
        let plain = match datagram.lead {
            Lead::Ping(_) => true,
            Lead::Ack(_) => answered.is_some() && self.anti_entropy.session.is_none(),
            Lead::None => false,
        };
        // A plain ping or ack begins nothing, so it need not be looked at what is under way.
        if !plain || datagram.goes_on() {
            self.quiet = self.is_quiet();
        }
        Ok(())
    }

    /// The frames after the lead. Most datagrams have none, so this is no part of what they cost.
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
            // It may have introduced itself in this very datagram.
            reply.sender = self.cx.member_at(id_hash, from);
            if let Some(slot) = reply.sender.filter(|_| self.detector.schedule.clock.is_fresh()) {
                self.hear_clock(slot, datagram.clock);
            }
        }
    }

    fn hear_clock(&mut self, slot: Slot, clock: u32) {
        let local_health = self.detector.local_health;
        self.detector.schedule.hear_clock(slot, clock, local_health, &self.cx);
    }

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
                reply.ping_req.get_or_insert((RequestId(number), IdHash(target), address));
            }
            Frame::Claims(claims) => self.on_claims(from, claims, reply),
            Frame::Telemetry(compacted, head, entries) => {
                self.apply_telemetry(from, compacted, head, entries, reply);
            }
            Frame::Tree(tree) => {
                // A node that does not pass telemetry on does not acknowledge it: another one gets
                // it instead.
                reply.tree = Some(tree).filter(|_| self.cx.config.mode == Mode::Autonomous);
            }
            Frame::TreeAck(ack) => {
                self.dissemination.on_tree_ack(reply.sender, ack, &mut self.cx);
            }
            Frame::PageRequest(request) => {
                let number = RequestId(request.number);
                // A newcomer that has begun with pages gets them all.
                let whole = request.from != 0 || self.anti_entropy.pages.give(self.cx.now);
                reply.body = if whole {
                    Body::Page(number, IdHash(request.from))
                } else {
                    Body::Piece(number, IdHash(self.cx.rng.word()))
                };
            }
            Frame::Page(page) => self.on_page(from, page, reply),
            Frame::Unknown => self.cx.stats.frames_unknown += 1,
            sync => self.on_sync(from, datagram, sync, reply),
        }
    }

    /// The frames of sync sessions, this node's own and those that a partner opened.
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
                let number = RequestId(head.number);
                cx.outbox.diffs.revoke(core::mem::take(&mut reply.diff));
                // Not only where the fingerprints differ: the dead are not in them.
                reply.diff = cx.outbox.diffs.compare(&cx.table, ranges);
                reply.diff.more |= head.more;
                let (diff, asker) = (reply.diff, session == Some(number));
                reply.body = closing(number, diff, asker);
                if asker {
                    let none = diff == Diff::default();
                    anti_entropy.on_session_reply(theirs, diff.more, !none, none, cx);
                }
            }
            Frame::SyncWants(head, wants) => {
                let number = RequestId(head.number);
                let asker = session == Some(number);
                cx.outbox.diffs.revoke(core::mem::take(&mut reply.diff));
                reply.diff = cx.outbox.diffs.grant(&cx.table, wants);
                if !asker {
                    // What the asker could not fit is said back to it: it keeps the session, this
                    // node does not.
                    reply.diff.more |= head.more;
                }
                reply.body = closing(number, reply.diff, asker);
                if asker {
                    let ends = reply.diff.items == 0;
                    anti_entropy.on_session_reply(theirs, head.more, true, ends, cx);
                }
            }
            Frame::SyncDone(done) => {
                if session == Some(RequestId(done.number)) {
                    anti_entropy.on_session_reply(theirs, done.more, done.more, true, cx);
                }
            }
            _ => {}
        }
    }

    fn on_claims(&mut self, from: A, claims: ClaimsIn<'_, A>, reply: &mut Reply<A>) {
        let rumor = self.anti_entropy.hears_rumors_from(from);
        for claim in claims {
            // A datagram says one thing about this node.
            if claim.id == self.cx.this.id.as_str()
                && core::mem::replace(&mut reply.about_self, true)
            {
                continue;
            }
            if let Applied::Stale(slot) = self.apply_claim(&claim, rumor)
                && self.cx.table.status(slot) != Status::Alive
                && reply.sender == Some(slot)
            {
                reply.correct_sender = true;
            }
        }
    }

    fn on_ping(&self, ping: Ping, reply: &mut Reply<A>) {
        if ping.target == self.cx.this.id_hash.0 {
            reply.signal = Signal::Ack(RequestId(ping.number), self.cx.this.instance);
        }
    }

    /// An ack answers a question of the detector's, or a challenge. Returns the member whose
    /// fingerprints are worth comparing.
    fn on_ack(&mut self, from: A, datagram: &Datagram<'_, A>, ack: Ack) -> Option<Slot> {
        let (number, instance) = (RequestId(ack.number), Instance(ack.instance));
        match self.detector.on_ack(from, number, instance, &mut self.cx) {
            Acked::Compare(slot) => return Some(slot),
            Acked::Matched => return None,
            Acked::Unmatched => {}
        }
        let cx = &mut self.cx;
        if cx.proof.is_answer(from, number, cx.now) {
            if let Some(slot) = cx.member_at(IdHash(datagram.sender), from) {
                cx.table.heard(slot, cx.now, true);
            }
        } else {
            cx.stats.acks_unmatched += 1;
        }
        None
    }

    fn on_page(&mut self, from: A, page: Page, reply: &mut Reply<A>) {
        match self.anti_entropy.on_page(from, page, &mut self.cx) {
            Paged::Ask(body) => reply.body = body,
            // By then the others know this node, and take in its telemetry.
            Paged::Complete => {
                self.dissemination.first_publish_at = Some(self.cx.now + self.cx.spread_time());
            }
            Paged::Unrelated => {}
        }
    }

    fn send_reply(&mut self, to: A, datagram: &Datagram<'_, A>, reply: &Reply<A>) {
        let Reply { sender, signal, mut body, diff, correct_sender, ping_req, .. } = *reply;
        let cx = &mut self.cx;
        if signal == Signal::None && body == Body::None {
            if !correct_sender {
                return;
            }
            body = Body::Rumors;
        }
        let verified = sender.is_some_and(|slot| cx.table.row(slot).verified);
        // The member that it asked to be pinged gets its share of the allowance, too.
        let spent = if ping_req.is_some() { PING_REQ_LEN.min(datagram.len) } else { 0 };
        let limit = cx.limit_to(sender, datagram.len - spent);
        let unproved = !verified && !matches!(body, Body::None | Body::Rumors);
        let challenge = if unproved { cx.proof.challenge(to, cx.now) } else { None };
        let challenge = challenge.map(|number| (number, IdHash(datagram.sender)));
        // A member that is known by the sender's id at another address: two processes of one id, or
        // a member that has moved.
        let namesake = || {
            let id_hash = IdHash(datagram.sender);
            cx.table.with_id_hash(id_hash).find(|&slot| slot != cx.this.slot)
        };
        let member = sender.or_else(namesake);
        cx.reply(Intent { to, member, signal, challenge, body, limit }, diff);
    }
}
