//! A datagram: its frames in order, and the one reply.

use alloc::vec::Vec;

use arrayvec::ArrayVec;

use super::{Activity, CATCH_UPS, CatchUp, Node, learn::Learned};
use crate::address::Address;
use crate::config::Mode;
use crate::error::WireError;
use crate::event::{Event, ProbeOutcome};
use crate::history::Evidence;
use crate::id::{Instance, Number, Tag};
use crate::join::Step;
use crate::member::Status;
use crate::membership::{Fingerprints, Slot};
use crate::outbox::{Body, Intent, Signal};
use crate::probe::Answer;
use crate::sync::{Plan, Want, differing};
use crate::telemetry::{self, LogEntry, MAX_LOG_READ, len_with};
use crate::tree::Reach;
use crate::wire::decode::{Datagram, Entries, Frame, Lead};
use crate::wire::{Ack, HEADER_LEN, Page, Ping, TelemetryHead, Tree};

/// A reply to a sender that has not proved its address is at most this many times as long as what it sent.
const AMPLIFICATION: usize = 3;

/// A request to ping another member is at least this long: the header and one frame.
const RELAY_LEN: usize = HEADER_LEN + 12;

/// How far the own telemetry may be ahead in somebody's table, by a mistake or a lie.
const MOST_AHEAD: u64 = 1 << 32;

/// How many owners of a datagram are asked for what is missing; those left out are found by their fingerprint.
const MISSING: usize = 8;

/// What the frames of one datagram call for.
struct Reply<A> {
    /// Who sent it, if it is known by that name at that address.
    sender: Option<Slot>,
    signal: Signal<A>,
    body: Body,
    plan: Plan,
    /// The sender holds something about a member that is known better here.
    correct_sender: bool,
    /// A member to ping on the sender's behalf: one a datagram, so that nobody makes one of many.
    relay: Option<(Number, Tag, A)>,
    /// A claim about this node itself was among them.
    about_me: bool,
    /// The datagram is part of a flight.
    tree: Option<Tree>,
    /// Telemetry that is missing before what the flight brought.
    missing: ArrayVec<Want, MISSING>,
}

/// The end of a reply in a session. An asker that sends anything wants it confirmed, even if it wants nothing else: only
/// once its datagram is encoded is it known whether all fits, and the confirmation tells it.
const fn closing(number: Number, plan: Plan, asker: bool) -> Body {
    if plan.wants > 0 || (asker && plan.items > 0) {
        Body::SyncWants(number, plan)
    } else {
        Body::SyncDone(number, plan)
    }
}

impl<A: Address> Node<A> {
    pub(super) fn receive(&mut self, from: A, bytes: &[u8]) -> Result<(), WireError> {
        let datagram = Datagram::<A>::parse(bytes, self.config.label, |claim| self.table.pass_over(claim))
            .inspect_err(|error| match error {
                WireError::Version(_) => self.stats.datagrams_other_version += 1,
                WireError::Label => self.stats.datagrams_other_label += 1,
                _ => self.stats.datagrams_malformed += 1,
            })?;
        if self.activity == Activity::Inactive {
            self.stats.datagrams_while_inactive += 1;
            return Ok(());
        }
        self.stats.datagrams_received += 1;
        self.stats.bytes_received += bytes.len() as u64;
        if from == self.address {
            return Ok(());
        }
        let tag = Tag(datagram.sender);
        let sender = self.member_at(tag, from);
        if let Some(slot) = sender {
            self.table.heard(slot, self.now, false);
            self.hear_clock(slot, datagram.clock);
        }
        let mut reply = Reply {
            sender,
            signal: Signal::None,
            body: Body::None,
            plan: Plan::default(),
            correct_sender: false,
            relay: None,
            about_me: false,
            tree: None,
            missing: ArrayVec::new(),
        };
        let mut answered = match datagram.lead {
            Lead::Ping(ping) => {
                self.pinged(ping, &mut reply);
                None
            }
            Lead::Ack(ack) => self.ack(from, &datagram, ack),
            Lead::None => None,
        };
        if datagram.goes_on() {
            self.read_on(from, &datagram, &mut reply, &mut answered);
        }
        self.send_reply(from, &datagram, &reply);
        self.tell_accusers();
        self.send_flights();
        // A member that answered a question of ours is a partner to compare with.
        if let Some(slot) = answered {
            self.compare_fingerprints(slot, datagram.fingerprints);
        }
        let plain = match datagram.lead {
            Lead::Ping(_) => true,
            Lead::Ack(_) => answered.is_some() && self.session.is_none(),
            Lead::None => false,
        };
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
            if self.config.mode == Mode::ProbeOnly && !frame.is_signal() {
                continue;
            }
            self.frame(from, datagram, frame, reply, answered);
        }
        let tag = Tag(datagram.sender);
        if let Some((theirs, target, address)) = reply.relay {
            self.relay((from, tag), theirs, (address, target), datagram.len);
        }
        if let Some(tree) = reply.tree.filter(|_| reply.body == Body::None) {
            reply.body = self.acknowledge(tree, &reply.missing);
            if let Body::TreeAck(_, plan) = reply.body {
                reply.plan = plan;
            }
        }
        if reply.sender.is_none() {
            // It may have introduced itself in this very datagram.
            reply.sender = self.member_at(tag, from);
            if let Some(slot) = reply.sender.filter(|_| self.rounds.is_fresh()) {
                self.hear_clock(slot, datagram.clock);
            }
        }
    }

    /// The member with this tag, if this is its address.
    pub(super) fn member_at(&self, tag: Tag, from: A) -> Option<Slot> {
        self.table.with_tag(tag).find(|&slot| slot != self.me && self.table.row(slot).is_at(&from))
    }

    /// The member that is known by the name of a sender who is none known: two processes of one id, or one that has moved.
    fn namesake(&self, tag: Tag) -> Option<Slot> {
        self.table.with_tag(tag).find(|&slot| slot != self.me)
    }

    fn frame(
        &mut self,
        from: A,
        datagram: &Datagram<'_, A>,
        frame: Frame<'_, A>,
        reply: &mut Reply<A>,
        answered: &mut Option<Slot>,
    ) {
        let session = self.session.filter(|session| session.address == from).map(|session| session.number);
        match frame {
            Frame::Ping(ping) => self.pinged(ping, reply),
            Frame::Ack(ack) => *answered = self.ack(from, datagram, ack).or(*answered),
            Frame::Nack(nack) => {
                if let Some(probe) = &mut self.probe {
                    probe.nack(from, Number(nack.number));
                }
            }
            Frame::Relay { number, target, address } => {
                reply.relay.get_or_insert((Number(number), Tag(target), address));
            }
            Frame::Claims(claims) => {
                // What a newcomer is told of, the others know or find out as it does.
                let news =
                    self.catch_up.is_none() && !self.join.as_ref().is_some_and(|join| join.is_seed(from));
                for claim in claims {
                    // A datagram says one thing about this node.
                    if claim.id == self.id.as_str() && core::mem::replace(&mut reply.about_me, true) {
                        continue;
                    }
                    if let Learned::Stale(slot) = self.learn(&claim, news)
                        && self.table.status(slot) != Status::Alive
                        && reply.sender == Some(slot)
                    {
                        reply.correct_sender = true;
                    }
                }
            }
            Frame::Telemetry(floor, head, entries) => self.learn_telemetry(from, floor, head, entries, reply),
            Frame::Tree(tree) => {
                // Who does not pass it on does not say that it has come: somebody else gets it instead.
                reply.tree = Some(tree).filter(|_| self.config.mode == Mode::Autonomous);
            }
            Frame::TreeAck(ack) => self.flight_arrived(reply.sender, ack),
            Frame::SyncOpen(open) => {
                let more = datagram.fingerprints != self.table.fingerprints();
                reply.body = Body::SyncDone(Number(open.number), Plan { more, ..Plan::default() });
            }
            Frame::SyncDigest(head, sums) => {
                let mask = differing(&self.table, sums);
                reply.body = Body::SyncVersions(Number(head.number), mask);
            }
            Frame::SyncVersions(head, ranges) => {
                let number = Number(head.number);
                self.plans.revoke(core::mem::take(&mut reply.plan));
                // Not only where the fingerprints differ: the dead are not in them.
                reply.plan = self.plans.compare(&self.table, ranges);
                reply.plan.more |= head.more;
                let (plan, asker) = (reply.plan, session == Some(number));
                reply.body = closing(number, plan, asker);
                if asker {
                    self.note_in_session(
                        datagram.fingerprints,
                        plan.more,
                        plan != Plan::default(),
                        plan == Plan::default(),
                    );
                }
            }
            Frame::SyncWants(head, wants) => {
                let (number, asker) = (Number(head.number), session == Some(Number(head.number)));
                self.plans.revoke(core::mem::take(&mut reply.plan));
                reply.plan = self.plans.grant(&self.table, wants);
                if !asker {
                    // What the asker could not fit is said back to it: it keeps the session, this node does not.
                    reply.plan.more |= head.more;
                }
                reply.body = closing(number, reply.plan, asker);
                if asker {
                    self.note_in_session(datagram.fingerprints, head.more, true, reply.plan.items == 0);
                }
            }
            Frame::SyncDone(done) => {
                if session == Some(Number(done.number)) {
                    self.note_in_session(datagram.fingerprints, done.more, done.more, true);
                }
            }
            Frame::PageRequest(request) => {
                let number = Number(request.number);
                // Who has begun with pages gets them all.
                reply.body = if request.from != 0 || self.pages.give(self.now) {
                    Body::Page(number, Tag(request.from))
                } else {
                    Body::Piece(number, Tag(self.rng.word()))
                };
            }
            Frame::Page(page) => self.page(from, page, reply),
            Frame::Unknown => self.stats.frames_unknown += 1,
        }
    }

    fn pinged(&self, ping: Ping, reply: &mut Reply<A>) {
        if ping.target == self.tag.0 {
            reply.signal = Signal::Ack(Number(ping.number), self.instance);
        }
    }

    fn note_in_session(&mut self, theirs: Fingerprints, more: bool, differs: bool, ends: bool) {
        if let Some(session) = &mut self.session {
            session.theirs = theirs;
            session.more |= more;
            session.differed |= differs;
            session.deadline = self.now + self.config.probe_timeout;
        }
        if ends {
            self.end_session();
        }
    }

    /// An ack answers one of: the probe under way, a trial, a relay, a roll call, a challenge.
    fn ack(&mut self, from: A, datagram: &Datagram<'_, A>, ack: Ack) -> Option<Slot> {
        let (number, instance) = (Number(ack.number), Instance(ack.instance));
        let answer = self.probe.as_ref().map(|probe| (probe.judge(from, number, instance), probe.target));
        match answer {
            Some((Answer::Direct, target)) => {
                self.end_probe(ProbeOutcome::Direct);
                return Some(target);
            }
            Some((Answer::Indirect(helper), target)) => {
                self.note(target, Evidence::AnsweredThrough { helper });
                self.end_probe(ProbeOutcome::Indirect);
                return None;
            }
            Some((Answer::Renewed, target)) => {
                // Another life of the target answers. The claim on its ack loses where a higher
                // generation or instance is held, and nothing else would correct a record that
                // says Alive. So the tables are compared: the new life learns of that record and
                // moves above it.
                let direct = self.probe.as_ref().is_some_and(|probe| probe.address == from);
                if let Some(probe) = self.probe.take() {
                    self.report(probe.target, probe.commanded, ProbeOutcome::Direct);
                    self.start_probe();
                }
                // Through a helper, the fingerprints are the helper's.
                return direct.then_some(target);
            }
            Some((Answer::Unrelated, _)) | None => {}
        }
        if let Some(slot) = self.patience.answered(from, number) {
            self.table.heard(slot, self.now, true);
            self.note(slot, Evidence::TrialPassed);
            return None;
        }
        if let Some((asker, number)) = self.relays.answered(from, number) {
            self.answer_asker(asker, Signal::Ack(number, instance));
            return None;
        }
        let table = &self.table;
        if let Some(slot) = self.contact.answered(number, |slot| table.address(slot) == Some(from)) {
            self.table.heard(slot, self.now, true);
            self.call_roll();
            return None;
        }
        if [0, 1].into_iter().any(|ago| self.challenge(from, ago) == Some(number)) {
            if let Some(slot) = self.member_at(Tag(datagram.sender), from) {
                self.table.heard(slot, self.now, true);
            }
            return None;
        }
        self.stats.acks_unmatched += 1;
        None
    }

    /// Pings `target` for `asker`, whose request had `len` bytes.
    fn relay(&mut self, asker: (A, Tag), theirs: Number, (target, tag): (A, Tag), len: usize) {
        let ours = self.number();
        if !self.relays.add(self.now, (ours, theirs), (asker, target), self.config.probe_timeout) {
            self.stats.relays_shed += 1;
            return;
        }
        self.stats.relays += 1;
        let member = self.table.with_tag(tag).find(|&slot| self.table.address(slot) == Some(target));
        // Somebody unproved gets no more than the request had.
        let verified = member.is_some_and(|slot| self.table.row(slot).verified);
        let (signal, limit) = (Signal::Ping(ours, tag), if verified { self.mtu() } else { len });
        self.ask(Intent { to: target, member, signal, challenge: None, body: Body::None, limit });
    }

    /// Tells whoever asked for a ping how it went.
    pub(super) fn answer_asker(&mut self, (to, tag): (A, Tag), signal: Signal<A>) {
        let limit = self.limit_to(self.member_at(tag, to), RELAY_LEN);
        self.reply(Intent { to, member: None, signal, challenge: None, body: Body::None, limit });
    }

    /// The most bytes to a receiver: a datagram, or, if it has not proved its address, so many times as it sent.
    pub(super) fn limit_to(&self, receiver: Option<Slot>, sent: usize) -> usize {
        let verified = receiver.is_some_and(|slot| self.table.row(slot).verified);
        if verified { self.mtu() } else { self.mtu().min(AMPLIFICATION * sent) }
    }

    /// Entries are taken in only if none is missing before them, and only of the life that the table knows. The owner's
    /// settings limit them, not this node's: who refused what the others hold would differ from them for ever.
    fn learn_telemetry(
        &mut self,
        from: A,
        floor: u64,
        head: TelemetryHead,
        entries: Entries<'_>,
        reply: &mut Reply<A>,
    ) {
        let tag = Tag(head.owner);
        let owner =
            self.table.with_tag(tag).find(|&slot| self.table.row(slot).instance == Instance(head.instance));
        let Some(owner) = owner.filter(|&slot| slot != self.me) else {
            self.stats.telemetry_ignored += 1;
            if owner == Some(self.me) {
                self.correct_telemetry(head, entries);
            }
            return;
        };
        // An arc never goes past the owner.
        let reach = reply.tree.map(|tree| {
            Reach::between(self.tag, Tag(tree.end)).min(Reach::between(self.tag, self.table.tag(owner)))
        });
        let row = self.table.row(owner);
        if floor > telemetry::floor(row.log()) && row.telemetry_version() < floor {
            // What was removed meanwhile is not told any more.
            self.table.reset_telemetry(owner, self.now, floor);
        }
        let known = self.table.row(owner).telemetry_version();
        if head.since > known {
            self.stats.telemetry_ignored += 1;
            let (pause, room) = (self.config.probe_timeout, !reply.missing.is_full());
            if reach.is_some_and(|reach| self.trees.note_gap(owner, reach, self.now, pause, room)) {
                reply.missing.push(Want { tag, claim: false, since: known });
            }
            return;
        }
        let (mut version, mut first, mut oldest) = (head.since, None, self.now);
        for entry in entries {
            version += entry.step;
            first = first.or(Some(version));
            let row = self.table.row(owner);
            if version <= row.telemetry_version() {
                continue;
            }
            let published = self.now - core::time::Duration::from_millis(entry.age >> 1);
            let urgent = entry.age & 1 != 0;
            let entry = LogEntry { key: entry.key, value: entry.value, version, published, urgent };
            if len_with(row.log(), &entry) > MAX_LOG_READ {
                self.table.drop_markers(owner, self.now);
            }
            if len_with(self.table.row(owner).log(), &entry) > MAX_LOG_READ {
                self.stats.telemetry_ignored += 1;
                break;
            }
            self.table.set_entry(owner, self.now, &entry);
            oldest = oldest.min(published);
        }
        let news = self.table.row(owner).telemetry_version() > known;
        if news {
            self.note_change(owner, known);
        }
        match (reach, first) {
            (Some(reach), Some(first)) => {
                let untold = self.trees.take_untold(owner);
                if news || untold {
                    let gap = self.trees.fill_gap(owner).unwrap_or(reach);
                    self.spread(owner, first - 1, reach.max(gap));
                }
            }
            _ if news => {
                let late = self.now.since(oldest) > self.settle_time() * 2;
                if let Some(session) = self.session.as_mut().filter(|session| session.address == from) {
                    session.brought_late |= late;
                }
                match self.trees.fill_gap(owner) {
                    Some(reach) => self.spread(owner, known, reach),
                    None => self.trees.note_untold(owner),
                }
            }
            _ => {}
        }
    }

    /// Somebody has telemetry of this node that it never published: what it did publish is said again, above that.
    fn correct_telemetry(&mut self, head: TelemetryHead, entries: Entries<'_>) {
        let mut version = head.since;
        for entry in entries {
            version += entry.step;
            let since = self.table.row(self.me).telemetry_version();
            // Who would have it run out of versions is not believed.
            if version <= since || version > since + MOST_AHEAD {
                continue;
            }
            let held = self.table.row(self.me).entries().find(|held| held.key == entry.key);
            let value = held.and_then(|held| held.value).map(Vec::from);
            let entry = LogEntry {
                key: entry.key,
                value: value.as_deref(),
                version: version + 1,
                published: held.map_or(self.now, |held| held.published),
                urgent: held.is_some_and(|held| held.urgent),
            };
            self.table.set_entry(self.me, self.now, &entry);
            self.note_change(self.me, since);
            self.spread_own(since);
        }
    }

    fn page(&mut self, from: A, page: Page, reply: &mut Reply<A>) {
        let retry_at = self.now + self.config.probe_timeout * 2;
        let Some(join) = &mut self.join else { return };
        match join.page(from, Number(page.number), page.next, retry_at) {
            Step::Ask(_, number, next) => reply.body = Body::PageRequest(number, next),
            Step::Complete(seed) => {
                self.join = None;
                let at = self.now + self.config.gossip_interval;
                self.catch_up = Some(CatchUp { at, left: CATCH_UPS, seed });
                self.debut = Some(self.now + self.settle_time());
                self.emit(Event::JoinCompleted { seed });
            }
            Step::Unrelated => {}
        }
    }

    fn send_reply(&mut self, to: A, datagram: &Datagram<'_, A>, reply: &Reply<A>) {
        let Reply { sender, signal, mut body, plan, correct_sender, relay, .. } = *reply;
        if signal == Signal::None && body == Body::None {
            if !correct_sender {
                return;
            }
            body = Body::Gossip;
        }
        let verified = sender.is_some_and(|slot| self.table.row(slot).verified);
        // What it asked to be relayed is answered, too.
        let len = datagram.len - if relay.is_some() { RELAY_LEN.min(datagram.len) } else { 0 };
        let limit = self.limit_to(sender, len);
        let unproved = !verified && !matches!(body, Body::None | Body::Gossip);
        let challenge = if unproved { self.challenge(to, 0) } else { None };
        let challenge = challenge.map(|number| (number, Tag(datagram.sender)));
        let member = sender.or_else(|| self.namesake(Tag(datagram.sender)));
        if !self.reply(Intent { to, member, signal, challenge, body, limit }) {
            self.plans.revoke(plan);
        }
    }
}
