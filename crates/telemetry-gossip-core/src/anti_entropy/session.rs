//! The sync session that this node opened, and the exchanges that the host asks for.
//!
//! ```text
//!   no session --- opened ---> awaiting a reply --- last reply; nothing was left out ---> ended
//!                                 ^   |    |
//!                                 |   |    +------- deadline, or the partner left ------> failed
//!                                 +---+
//!               a reply that goes on, or the next session because something was left out
//! ```
//!
//! The next session begins in a tick, not in the datagram that ends the last one: with the reply to
//! that datagram, and a ping for a claim in it, these would be too many.
//!
//! Only the node that opens a session keeps state; `diff` shows the datagrams.

use serde::{Deserialize, Serialize};

use super::diff::SMALL_TABLE_MEMBERS;
use super::fruitless::Tables;
use super::{AntiEntropy, tables_of};
use crate::address::Address;
use crate::cx::Cx;
use crate::event::{Event, ExchangeOutcome};
use crate::id::{NodeId, RequestId};
use crate::membership::{Fingerprints, Slot};
use crate::outbox::{Body, Intent};
use crate::time::{Instant, TimeRules};

/// The largest number of partners with which an exchange is tried.
pub(super) const MAX_ATTEMPTS: u8 = 3;

/// The mask of all hash ranges of the table.
pub(crate) const ALL_BUCKETS: u64 = u64::MAX;

/// What a session is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// To make two tables alike, their telemetry included.
    Tables,
    /// To make what they hold of members that are gone alike; they differ like this.
    Gone(Tables),
}

/// The session that this node opened.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Session<A> {
    pub(crate) purpose: Purpose,
    pub(crate) request_id: RequestId,
    pub(crate) peer: Slot,
    pub(crate) address: A,
    /// When the session fails unless another reply arrives.
    pub(crate) deadline: Instant,
    /// When its partner was asked last.
    asked_at: Instant,
    /// Whether something did not fit.
    pub(crate) more: bool,
    /// Whether a difference was found.
    pub(crate) differed: bool,
    /// Whether it brought telemetry that the trees should have brought long before.
    pub(crate) brought_late: bool,
    /// Whether it has ended, something was left out, and the next tick begins the next one.
    goes_on: bool,
    /// How many sessions may still follow this one at once.
    pub(crate) chain: u16,
    /// The fingerprints of the partner and of this node when the session began.
    pub(crate) fingerprints: (Fingerprints, Fingerprints),
    /// The fingerprints of the partner in its latest datagram.
    pub(crate) theirs: Fingerprints,
}

/// The largest number of sessions that follow one at once because something did not fit.
pub(crate) const MAX_CHAINED_SESSIONS: u16 = 512;

/// An exchange that the host asked for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Exchange {
    pub(crate) attempts_left: u8,
}

impl<A> Session<A> {
    /// Whether a restored session is with another member, and ends.
    pub(super) fn is_sound(&self, me: Slot, times: TimeRules) -> bool {
        let Self {
            purpose: _,
            request_id: _,
            peer,
            address: _,
            deadline,
            asked_at,
            more: _,
            differed: _,
            brought_late: _,
            goes_on: _,
            chain,
            fingerprints: _,
            theirs: _,
        } = self;
        *peer != me
            && *chain <= MAX_CHAINED_SESSIONS
            && times.are_deadlines(&[Some(*deadline)])
            && times.is_past(*asked_at)
    }
}

impl<A: Address> AntiEntropy<A> {
    /// Opens a session with a partner whose latest fingerprints are `theirs`.
    ///
    /// Unless the tables are known to differ, a node with a large table first asks whether they do.
    pub(crate) fn open_session(
        &mut self,
        peer: Slot,
        theirs: Fingerprints,
        differs: bool,
        chain: u16,
        cx: &mut Cx<A>,
    ) {
        self.open_session_for(Purpose::Tables, peer, theirs, differs, chain, cx);
    }

    /// As [`open_session`](Self::open_session), for this purpose.
    pub(super) fn open_session_for(
        &mut self,
        purpose: Purpose,
        peer: Slot,
        theirs: Fingerprints,
        differs: bool,
        chain: u16,
        cx: &mut Cx<A>,
    ) {
        let Some(address) = cx.table.address(peer) else { return };
        let request_id = cx.request_id();
        let body = if cx.table.len() <= SMALL_TABLE_MEMBERS {
            Body::SyncVersions(request_id, ALL_BUCKETS)
        } else if purpose != Purpose::Tables {
            Body::SyncParts(request_id)
        } else if differs {
            Body::SyncDigest(request_id)
        } else {
            Body::SyncOpen(request_id)
        };
        cx.stats.syncs += 1;
        self.session = Some(Session {
            purpose,
            request_id,
            peer,
            address,
            deadline: cx.now + self.reply_timeout(peer, cx),
            asked_at: cx.now,
            more: false,
            differed: differs,
            brought_late: false,
            goes_on: false,
            chain,
            fingerprints: (theirs, cx.table.fingerprints()),
            theirs,
        });
        cx.ask(Intent::new(address, Some(peer), cx.mtu()).with_body(body));
    }

    /// The session that this node has opened, if a reply of its partner is awaited.
    fn awaited(&self) -> Option<&Session<A>> {
        self.session.as_ref().filter(|session| !session.goes_on)
    }

    /// The request id of the session of which a reply is awaited, if there is one.
    pub(crate) fn session_number(&self) -> Option<RequestId> {
        self.awaited().map(|session| session.request_id)
    }

    /// Whether this node has opened a session with the partner at `from`.
    pub(crate) fn is_partner(&self, from: A) -> bool {
        self.session.is_some_and(|session| session.address == from)
    }

    /// The address of the partner, if a reply under this request id is awaited.
    pub(crate) fn address_asked(&self, request_id: RequestId) -> Option<A> {
        let session = self.awaited().filter(|session| session.request_id == request_id);
        session.map(|session| session.address).or_else(|| self.seeds.address_asked(request_id))
    }

    /// Handles a reply of the session's partner.
    pub(crate) fn on_session_reply(
        &mut self,
        theirs: Fingerprints,
        more: bool,
        differs: bool,
        ends: bool,
        cx: &mut Cx<A>,
    ) {
        self.bootstrap_answered();
        let peer = self.session.map(|session| session.peer);
        let deadline = peer.map_or(cx.now, |peer| cx.now + self.reply_timeout(peer, cx));
        if let Some(session) = &mut self.session {
            self.round_trip.add_sample(cx.now.since(session.asked_at));
            session.theirs = theirs;
            session.more |= more;
            session.differed |= differs;
            (session.asked_at, session.deadline) = (cx.now, deadline);
        }
        if ends {
            self.end_session(cx);
        }
    }

    /// Records that the session's partner sent telemetry that had been under way for long, if
    /// `late`.
    pub(crate) fn on_telemetry(&mut self, from: A, late: bool) {
        if let Some(session) = self.session.as_mut().filter(|session| session.address == from) {
            session.brought_late |= late;
        }
    }

    /// Ends the session. If something did not fit, the next one begins with the next tick.
    fn end_session(&mut self, cx: &mut Cx<A>) {
        let Some(mut session) = self.session.take() else { return };
        // If the session changed neither table, the next one would not do better.
        let moved_on = session.fingerprints != (session.theirs, cx.table.fingerprints());
        if session.more && session.chain > 0 && moved_on && cx.table.can_probe(session.peer) {
            (session.goes_on, session.deadline) = (true, cx.now);
            self.session = Some(session);
        } else {
            self.conclude(session, cx);
        }
    }

    /// Begins the session that follows one in which something did not fit.
    pub(super) fn go_on(&mut self, cx: &mut Cx<A>) {
        let Some(session) = self.session.take_if(|session| session.goes_on) else { return };
        if cx.table.can_probe(session.peer) {
            self.open_session(session.peer, session.theirs, true, session.chain - 1, cx);
        } else {
            self.conclude(session, cx);
        }
    }

    /// Draws the conclusions of a session that has ended, and that none follows at once.
    fn conclude(&mut self, session: Session<A>, cx: &mut Cx<A>) {
        let spread = cx.spread_time();
        if let Purpose::Gone(tables) = session.purpose {
            if cx.table.gone_sum() != tables.ours {
                self.gone.fruitless.is_fruitful();
            } else if !session.more {
                // A part of a large table is compared at a time, so the next session may find more.
                self.gone.fruitless.record(tables, cx.config.probe_interval, cx.now);
            }
            return;
        }
        let ours = cx.table.fingerprints();
        if session.theirs.claims != ours.claims {
            let tables = tables_of(session.theirs, ours);
            self.fruitless.record(tables, cx.config.probe_interval, cx.now);
        }
        // Where members publish all the time, tables are hardly ever equal. What the trees are
        // about to bring is not missing.
        let claims_differed = session.fingerprints.1.claims != session.theirs.claims;
        self.bootstrap_compared(claims_differed || session.brought_late);
        self.trigger.session_ended(cx.now, spread);
        let members = cx.table.live();
        self.telemetry_trigger.session_ended(cx.now, spread, session.brought_late, members);
        if self.exchange.take().is_some() {
            let outcome =
                if session.differed { ExchangeOutcome::Exchanged } else { ExchangeOutcome::InSync };
            let peer = Some(cx.table.id(session.peer));
            cx.emit(Event::ExchangeCompleted { peer, outcome });
        }
    }

    /// Fails the session if its deadline has passed.
    pub(super) fn expire_session(&mut self, cx: &mut Cx<A>) {
        if let Some(session) = self.session.take_if(|session| session.deadline <= cx.now) {
            self.fail_session(session, cx.table.id(session.peer), cx);
        }
    }

    /// Fails a session whose partner is silent or gone. An exchange goes on with another partner.
    pub(super) fn fail_session(&mut self, session: Session<A>, peer: NodeId, cx: &mut Cx<A>) {
        cx.stats.syncs_failed += 1;
        if let Purpose::Gone(tables) = session.purpose {
            self.gone.fruitless.record(tables, cx.config.probe_interval, cx.now);
            return;
        }
        self.bootstrap_failed(cx.now);
        self.trigger.session_ended(cx.now, cx.config.probe_timeout);
        let (pause, members) = (cx.config.probe_timeout, cx.table.live());
        self.telemetry_trigger.session_ended(cx.now, pause, true, members);
        let Some(exchange) = &mut self.exchange else { return };
        exchange.attempts_left -= 1;
        let attempts_left = exchange.attempts_left;
        let table = &cx.table;
        let all = !cx.asks_for_proof();
        let other = table.random(&mut cx.rng, |slot| {
            let told = all || table.is_verified(slot);
            table.can_probe(slot) && told && slot != session.peer
        });
        let other = other.or_else(|| table.can_probe(session.peer).then_some(session.peer));
        match other.filter(|_| attempts_left > 0) {
            Some(slot) => {
                self.open_session(slot, Fingerprints::default(), false, MAX_CHAINED_SESSIONS, cx)
            }
            None => {
                self.exchange = None;
                let (peer, outcome) = (Some(peer), ExchangeOutcome::Failed);
                cx.emit(Event::ExchangeCompleted { peer, outcome });
            }
        }
    }

    /// Begins the next exchange that the host has asked for, with the partner whose turn it is.
    ///
    /// The datagram that ends an exchange does not begin the next one: what one datagram of a peer
    /// may lead to is bounded, whatever the host has asked for.
    pub(crate) fn start_wanted_exchange(&mut self, cx: &mut Cx<A>) {
        while self.exchange.is_none() && self.exchanges_wanted > 0 {
            self.exchanges_wanted -= 1;
            let Some(slot) = self.choose_partner(cx) else {
                let outcome = ExchangeOutcome::NoPartner;
                cx.emit(Event::ExchangeCompleted { peer: None, outcome });
                continue;
            };
            self.session = None;
            self.exchange = Some(Exchange { attempts_left: MAX_ATTEMPTS });
            self.open_session(slot, Fingerprints::default(), false, MAX_CHAINED_SESSIONS, cx);
        }
    }

    /// The partner of the next exchange, or the next member in the roster that can be reached.
    fn choose_partner(&mut self, cx: &mut Cx<A>) -> Option<Slot> {
        let table = &cx.table;
        let members = table.len();
        let Some(places) = self.partners.next(members) else {
            let all = !cx.asks_for_proof();
            return table.random(&mut cx.rng, |slot| {
                table.can_probe(slot) && (all || table.is_verified(slot))
            });
        };
        let start = table.rank(cx.this.slot)? + places;
        (start..start + members)
            .filter_map(|rank| table.at_rank(rank))
            .find(|&slot| table.can_probe(slot) && cx.may_tell(slot))
    }
}
