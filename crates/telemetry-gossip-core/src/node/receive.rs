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

use super::Node;
use super::apply::{Asked, Heard, HeldUnderId};
use super::reply::Reply;
use crate::address::Address;
use crate::anti_entropy::join::Paged;
use crate::config::Mode;
use crate::cx::Activity;
use crate::detector::Acked;
use crate::dissemination::acknowledge;
use crate::dropped::DropReason;
use crate::error::WireError;
use crate::id::{IdHash, Instance, RequestId};
use crate::membership::{Place, Slot};
use crate::outbox::{Body, Signal};
use crate::wire::decode::{Datagram, Frame, Lead};
use crate::wire::{Ack, PING_LEN, Page, Ping, SEALED_FORMAT};

/// A datagram of this length is accepted even if the own MTU is smaller, so that a fleet can change
/// its MTU node by node.
const MIN_ACCEPTED_BYTES: usize = 1_500;

/// The most datagrams that one datagram may lead to for its sender: an answer, what is asked or
/// told besides, and the start of a session.
const MAX_LED_TO: usize = 3;

impl<A: Address> Node<A> {
    /// Handles a datagram.
    pub(super) fn receive(&mut self, from: A, bytes: &[u8]) -> Result<(), WireError> {
        let max = self.cx.mtu().max(MIN_ACCEPTED_BYTES);
        let table = &mut self.cx.table;
        let parsed = if bytes.len() > max {
            Err(WireError::TooLong { len: bytes.len(), max })
        } else {
            // Claims that the table holds already are passed over while the datagram is validated.
            Datagram::<A>::parse(bytes, self.cx.config.label, |claims| table.pass_over(claims))
        };
        let datagram = match parsed {
            Ok(datagram) => datagram,
            Err(error) => return Err(self.refuse(from, error)),
        };
        if self.cx.activity == Activity::Inactive {
            self.cx.stats.datagrams_while_inactive += 1;
            return Ok(());
        }
        self.cx.stats.datagrams_received += 1;
        self.cx.stats.bytes_received += bytes.len() as u64;
        // Ignore the contents of datagrams from this node's own address.
        if from == self.cx.this.address {
            return Ok(());
        }
        if datagram.sender == self.cx.this.id_hash.0 && self.is_own_echo(bytes) {
            self.cx.stats.datagrams_echoed += 1;
        } else if let Activity::Waiting(_) = self.cx.activity {
            self.receive_waiting(&datagram);
        } else {
            self.apply_datagram(from, &datagram, false);
        }
        Ok(())
    }

    /// Counts a datagram that breaks a rule of the wire format, and tells the host once in a while.
    /// Nothing is sent to its source, which may be forged.
    #[cold]
    fn refuse(&mut self, from: A, error: WireError) -> WireError {
        let stats = &mut self.cx.stats;
        let (counter, reason) = match error {
            WireError::Version(SEALED_FORMAT) => {
                (&mut stats.datagrams_other_version, DropReason::Sealed)
            }
            WireError::Version(_) => (&mut stats.datagrams_other_version, DropReason::OtherVersion),
            WireError::Label => (&mut stats.datagrams_other_label, DropReason::OtherLabel),
            WireError::TooLong { .. } => (&mut stats.datagrams_malformed, DropReason::TooLong),
            _ => (&mut stats.datagrams_malformed, DropReason::Malformed),
        };
        *counter += 1;
        if self.cx.activity != Activity::Inactive {
            self.cx.dropped(reason, Some(from));
        }
        error
    }

    /// Applies a valid datagram. `verified` says that its sender has just proved its address, which
    /// the table may not tell yet.
    ///
    /// A host may send from another address than the one at which it is reached. So a datagram that
    /// repeats a number of this node comes from where that number was sent to, whatever its source.
    #[inline]
    pub(super) fn apply_datagram(&mut self, source: A, datagram: &Datagram<'_, A>, verified: bool) {
        let mut from = source;
        let mut sender = self.cx.member_at(IdHash(datagram.sender), from);
        if sender.is_none() && !self.cx.admission.admits_hash(IdHash(datagram.sender)) {
            self.receive_outsider(source, datagram);
            return;
        }
        if sender.is_none()
            && !verified
            && let Some(asked) = self.address_asked(datagram)
        {
            (from, sender) = (asked, self.cx.member_at(IdHash(datagram.sender), asked));
            if let Some(slot) = sender {
                self.detector.answered_elsewhere(slot, source, &mut self.cx);
            }
        }
        if let Some(slot) = sender {
            self.cx.table.heard(slot, self.cx.now, false);
        } else if !self.cx.believes(&from) && !self.anti_entropy.joins_through(from) {
            self.cx.stats.addresses_refused += 1;
            return;
        }
        let heard = Heard {
            rumor: true,
            from,
            asked: Asked::No,
            word_from: verified.then_some(from),
            questions_left: datagram.len / PING_LEN,
        };
        let mut reply = Reply::new(sender, heard);
        reply.verified = verified;
        // Most datagrams are a ping or an ack and nothing else. That frame was read by `parse`.
        let mut answered = match datagram.lead {
            Lead::Ping(ping) => {
                self.on_ping(ping, &mut reply);
                if reply.signal != Signal::None && !(datagram.goes_on() && is_reply(datagram)) {
                    self.on_reached(&mut reply);
                }
                None
            }
            Lead::Ack(ack) => self.on_ack(from, datagram, ack, &mut reply),
            Lead::None => None,
        };
        if datagram.goes_on() {
            self.read_on(from, datagram, &mut reply, &mut answered);
        }
        if let Some(slot) = reply.sender.filter(|_| verified) {
            self.cx.table.heard(slot, self.cx.now, true);
        }
        // The source address of any other datagram may be forged, and so may its clock.
        if let Some(slot) = reply.sender.filter(|_| reply.answers) {
            self.hear_clock(slot, datagram.clock);
        }
        let told = self.send_reply(from, datagram, &reply);
        if datagram.goes_on() || !self.quiet {
            // A plain ping or ack to a node that does nothing but probe ends here.
            self.go_on(from, datagram, &reply, told);
        }
        // A member that answered our probe is a partner to compare tables with.
        let is_enough = datagram.goes_on() && self.has_led_to_enough(from);
        let may_begin = !(reply.tells_nothing || reply.looked_into || is_enough);
        if let Some(slot) = answered.filter(|_| may_begin) {
            self.dissemination.on_ping_answered(slot, &mut self.cx);
            self.anti_entropy.compare_fingerprints(slot, datagram.fingerprints, &mut self.cx);
            if let Some(sum) = reply.gone {
                self.anti_entropy.compare_gone(slot, sum, &mut self.cx);
            }
        }
        let plain = match datagram.lead {
            Lead::Ping(_) => true,
            Lead::Ack(_) => answered.is_some() && self.anti_entropy.session.is_none(),
            Lead::None => false,
        };
        // A plain ping or ack begins nothing, so `quiet` need not be computed anew.
        if !plain || datagram.goes_on() || reply.refutes {
            self.settle();
        }
    }

    /// Does what a datagram may lead to beside its reply.
    ///
    /// If an accuser was asked because of the datagram, that and a request for a ping are enough
    /// for one datagram to lead to: tables are compared another time.
    fn go_on(&mut self, from: A, datagram: &Datagram<'_, A>, reply: &Reply<A>, told: bool) {
        if !self.wrong_accusers.is_empty() {
            self.tell_accusers(told.then_some(from));
        }
        self.dissemination.send_flights(&mut self.cx);
        let may_begin = |_: &Slot| !(reply.looked_into || self.has_led_to_enough(from));
        if let Some(slot) = reply.sender.filter(may_begin) {
            let theirs = datagram.fingerprints;
            self.anti_entropy.compare_while_fresh(slot, theirs, &mut self.cx);
        }
    }

    /// Whether as many datagrams wait for a peer as a datagram of its may lead to, so that nothing
    /// more is begun with it now.
    fn has_led_to_enough(&self, from: A) -> bool {
        self.cx.outbox.waiting_for(from) >= MAX_LED_TO
    }

    /// Whether this node sent the datagram itself, by an address that leads back to it: it has the
    /// own instance, which no other process has.
    #[cold]
    fn is_own_echo(&self, bytes: &[u8]) -> bool {
        let (id, instance) = (self.cx.this.id, self.cx.this.instance);
        let own = |other: Instance| other == instance && instance != Instance(0);
        // Read anew, with the claims that say nothing new.
        let Ok(datagram) = Datagram::<A>::parse(bytes, self.cx.config.label, |claims| (0, claims))
        else {
            return false;
        };
        let acks = matches!(datagram.lead, Lead::Ack(ack) if own(Instance(ack.instance)));
        acks || datagram.following().any(|frame| match frame {
            Frame::Ack(ack) => own(Instance(ack.instance)),
            Frame::Claims(mut claims) => {
                claims.any(|claim| claim.id == id.as_str() && own(claim.instance))
            }
            _ => false,
        })
    }

    /// Reads a datagram while another process has this node's id: only the answers to this node's
    /// own questions count.
    #[inline(never)]
    fn receive_waiting(&mut self, datagram: &Datagram<'_, A>) {
        if let Lead::Ack(ack) = datagram.lead {
            let (request_id, instance) = (RequestId(ack.number), Instance(ack.instance));
            self.id_conflict.on_ack(request_id, instance);
        }
        let mut held = None;
        for frame in datagram.following() {
            match frame {
                Frame::Claims(mut claims) => {
                    let claim = claims.find(|claim| claim.id == self.cx.this.id.as_str());
                    held = claim.and_then(|claim| HeldUnderId::of(&claim, self.cx.this.instance));
                }
                Frame::SyncDone(done) => {
                    self.id_conflict.on_vote(RequestId(done.number), held.as_ref());
                }
                _ => {}
            }
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
        self.find_answers(from, datagram, reply);
        for frame in datagram.following() {
            if self.cx.config.mode == Mode::ProbeOnly && !frame.is_signal() {
                continue;
            }
            if !reply.accepts(&frame) {
                self.cx.stats.frames_beyond_limit += 1;
                continue;
            }
            self.frame(from, datagram, frame, reply, answered);
        }
        let id_hash = IdHash(datagram.sender);
        if let Some((theirs, target, address)) = reply.ping_req {
            let (asker, target) = ((from, id_hash), (address, target));
            self.detector.on_ping_req(asker, theirs, target, datagram.len, &mut self.cx);
        }
        if let Some(tree) = reply.tree.filter(|_| matches!(reply.body, Body::None)) {
            (reply.body, reply.diff) =
                acknowledge(tree, !reply.refuses_flight, &reply.missing, &mut self.cx);
        }
        if reply.sender.is_none() {
            // The sender may have introduced itself in this very datagram.
            reply.sender = self.cx.member_at(id_hash, from);
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
            Frame::Ack(ack) => {
                *answered = self.on_ack(from, datagram, ack, reply).or(*answered);
            }
            Frame::Nack(nack) => self.detector.on_nack(RequestId(nack.number)),
            Frame::PingReq { number, target, address } => {
                // It is served after the other frames.
                reply.ping_req = Some((RequestId(number), IdHash(target), address));
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
                self.dissemination.on_tree_ack(ack, &mut self.cx);
            }
            Frame::PageRequest(request) => {
                let request_id = RequestId(request.number);
                // Only first pages count against the limit: a newcomer that has begun with pages
                // gets all of them.
                let whole = request.from != 0 || self.anti_entropy.pages.give(self.cx.now);
                reply.body = if whole {
                    let id_hash = IdHash(request.from);
                    Body::Page(request_id, Place { id_hash, nth: reply.page_place })
                } else {
                    Body::Piece(request_id, IdHash(self.cx.rng.word()))
                };
            }
            Frame::PagePlace(place) => reply.page_place = place.nth,
            Frame::Gone(gone) => reply.gone = Some(gone.sum),
            Frame::NotAMember(said) => self.on_not_a_member(said, reply),
            Frame::SeenAt(address) => {
                if reply.sender.is_some() {
                    self.detector.seen_elsewhere(address, &mut self.cx);
                }
            }
            Frame::Page(page) => self.on_page(page, reply),
            Frame::Unknown => self.cx.stats.frames_unknown += 1,
            sync => self.on_sync(datagram, sync, reply),
        }
    }

    /// Acknowledges a ping. A ping for another id gets no answer, or its sender would take that
    /// member for alive.
    fn on_ping(&mut self, ping: Ping, reply: &mut Reply<A>) {
        if ping.target == self.cx.this.id_hash.0 {
            reply.signal = Signal::Ack(RequestId(ping.number), self.cx.this.instance);
        }
    }

    /// Records that what is sent to the address of this node reaches it.
    #[inline]
    fn on_reached(&mut self, reply: &mut Reply<A>) {
        if let Some(accusation) = self.detector.reached(self.cx.now) {
            self.refute_late(accusation);
            reply.refutes = true;
        }
    }

    /// Handles an ack, which answers a ping of the detector, a question about a claim, or a
    /// challenge. Returns the member whose fingerprints are to be compared.
    fn on_ack(
        &mut self,
        from: A,
        datagram: &Datagram<'_, A>,
        ack: Ack,
        reply: &mut Reply<A>,
    ) -> Option<Slot> {
        reply.has_ack = true;
        let (request_id, instance) = (RequestId(ack.number), Instance(ack.instance));
        if self.id_conflict.on_ack(request_id, instance) {
            return None;
        }
        if self.detector.was_asked_for_ping(request_id, instance) {
            reply.answers = true;
            return None;
        }
        let acked = self.detector.on_ack(request_id, instance, &mut self.cx);
        reply.answers |= acked != Acked::Unmatched;
        match acked {
            Acked::Compare(slot) => {
                reply.heard.word_from = Some(from);
                return Some(slot);
            }
            Acked::Rival(slot) => {
                reply.heard.word_from = Some(from);
                reply.correct_sender = true;
                return Some(slot);
            }
            Acked::Matched => return None,
            Acked::Unmatched => {}
        }
        if self.farewell.on_ack(request_id) {
            reply.answers = true;
            return None;
        }
        if self.on_newcomer_ack(request_id, instance, reply) {
            reply.answers = true;
            return None;
        }
        let cx = &mut self.cx;
        let proves = self.freshness.answered == Some(request_id);
        if proves || cx.proof.is_answer(from, request_id, cx.now) {
            reply.answers = true;
            reply.heard.word_from = Some(from);
            let member = cx.member_at(IdHash(datagram.sender), from);
            match member.map(|slot| (slot, cx.table.row(slot).instance)) {
                Some((slot, held)) if held.is_same_process(instance) => {
                    cx.table.heard(slot, cx.now, true);
                }
                // Another process of this id is at the address, and does not know what is held.
                Some(_) => reply.correct_sender = true,
                None => {}
            }
        } else {
            cx.stats.acks_unmatched += 1;
        }
        None
    }

    /// Handles a page of a seed.
    fn on_page(&mut self, page: Page, reply: &mut Reply<A>) {
        let next = page.next.map(|id_hash| Place { id_hash, nth: reply.page_place });
        let paged = self.anti_entropy.on_page(RequestId(page.number), next, &mut self.cx);
        reply.answers |= paged != Paged::Unrelated;
        match paged {
            Paged::Ask(body) => reply.body = body,
            Paged::Complete => self.dissemination.joined(&self.cx),
            Paged::Unrelated => {}
        }
    }
}

/// Whether the datagram answers a request. A ping in it is a challenge, and went to the source of
/// the request, which need not be the address that this node states.
#[cold]
fn is_reply<A: Address>(datagram: &Datagram<'_, A>) -> bool {
    datagram.following().any(|frame| {
        matches!(
            frame,
            Frame::Page(_)
                | Frame::SyncSums(..)
                | Frame::SyncVersions(..)
                | Frame::SyncWants(..)
                | Frame::SyncDone(_)
                | Frame::TreeAck(_)
        )
    })
}
