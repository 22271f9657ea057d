//! Sync sessions that this node opens, and the exchanges that the host asks for.

use core::time::Duration;

use super::{CatchUp, Exchange, Node};
use crate::address::Address;
use crate::config::Mode;
use crate::event::{Event, ExchangeOutcome};
use crate::id::NodeId;
use crate::membership::{Fingerprints, Slot};
use crate::outbox::{Body, Intent, Signal};
use crate::probe::can_probe;
use crate::sync::{CHAIN, SMALL, Session};

/// With how many partners an exchange is tried.
const ATTEMPTS: u8 = 3;

/// All ranges of the table.
pub(super) const ALL_BUCKETS: u64 = u64::MAX;

impl<A: Address> Node<A> {
    /// How long news takes to be everywhere by itself; a difference that lasts longer is worth a
    /// session.
    pub(super) fn settle_time(&self) -> Duration {
        self.config.gossip_interval * (2 + self.table.live().max(1).ilog10() + 1)
    }

    /// A partner answered a ping: its table is like ours, or not.
    pub(super) fn compare_fingerprints(&mut self, peer: Slot, theirs: Fingerprints) {
        if self.config.mode != Mode::Autonomous
            || self.session.is_some()
            || !self.table.is_live(peer)
        {
            return;
        }
        let (ours, settle) = (self.table.fingerprints(), self.settle_time());
        let (claims, telemetry) =
            (ours.claims == theirs.claims, ours.telemetry == theirs.telemetry);
        let differs = self.pace.note(self.now, claims, self.table.changed_at(), settle);
        let changed_at = self.table.telemetry_changed_at();
        if self.telemetry_pace.note(self.now, telemetry, changed_at, settle) || differs {
            self.open_session(peer, theirs, true, CHAIN);
        }
    }

    /// Opens a session with a partner whose fingerprint was `theirs` when last heard. Where a
    /// difference is not known yet, a large table asks first.
    pub(super) fn open_session(
        &mut self,
        peer: Slot,
        theirs: Fingerprints,
        differs: bool,
        chain: u16,
    ) {
        let Some(address) = self.table.address(peer) else { return };
        let number = self.number();
        let body = if self.table.len() <= SMALL {
            Body::SyncVersions(number, ALL_BUCKETS)
        } else if differs {
            Body::SyncDigest(number)
        } else {
            Body::SyncOpen(number)
        };
        self.stats.syncs += 1;
        let deadline = self.now + self.config.probe_timeout;
        let fingerprints = (theirs, self.table.fingerprints());
        self.session = Some(Session {
            number,
            peer,
            address,
            deadline,
            more: false,
            differed: differs,
            brought_late: false,
            chain,
            fingerprints,
            theirs,
        });
        let limit = self.mtu();
        let (to, signal) = (address, Signal::None);
        self.ask(Intent { to, member: Some(peer), signal, challenge: None, body, limit });
    }

    /// A newcomer's next comparison with somebody.
    pub(super) fn catch_up(&mut self) {
        let Some(due) = self.catch_up.filter(|due| due.at <= self.now && self.session.is_none())
        else {
            return;
        };
        let (table, rest) = (&self.table, due.left.saturating_sub(1));
        let peer = table.random(&mut self.rng, |slot| {
            can_probe(table, slot) && table.address(slot) != Some(due.seed)
        });
        let at = self.now + self.config.gossip_interval;
        self.catch_up = (rest > 0).then_some(CatchUp { at, left: rest, ..due });
        if let Some(peer) = peer {
            self.open_session(peer, Fingerprints::default(), false, CHAIN);
        }
    }

    /// The session is complete; if something did not fit, the next one begins at once.
    pub(super) fn end_session(&mut self) {
        let Some(session) = self.session.take() else { return };
        // Where neither table took anything in, the next session would do no better.
        let moved_on = session.fingerprints != (session.theirs, self.table.fingerprints());
        if session.more && session.chain > 0 && moved_on && can_probe(&self.table, session.peer) {
            self.open_session(session.peer, session.theirs, true, session.chain - 1);
            return;
        }
        if !session.differed {
            self.catch_up = None;
        }
        let settle = self.settle_time();
        self.pace.rest(self.now, settle);
        self.telemetry_pace.rest(self.now, settle, session.brought_late);
        if self.exchange.take().is_some() {
            let outcome =
                if session.differed { ExchangeOutcome::Exchanged } else { ExchangeOutcome::InSync };
            let peer = Some(self.table.id(session.peer));
            self.emit(Event::ExchangeCompleted { peer, outcome });
            self.start_wanted_exchange();
        }
    }

    pub(super) fn expire_session(&mut self) {
        if let Some(session) = self.session.take_if(|session| session.deadline <= self.now) {
            self.fail_session(session, self.table.id(session.peer));
        }
    }

    /// The partner is silent or gone; an exchange goes on with another one.
    pub(super) fn fail_session(&mut self, session: Session<A>, peer: NodeId) {
        self.stats.syncs_failed += 1;
        self.pace.rest(self.now, self.config.probe_timeout);
        self.telemetry_pace.rest(self.now, self.config.probe_timeout, true);
        let Some(exchange) = &mut self.exchange else { return };
        exchange.attempts_left -= 1;
        let attempts_left = exchange.attempts_left;
        let table = &self.table;
        let other =
            table.random(&mut self.rng, |slot| can_probe(table, slot) && slot != session.peer);
        let other = other.or_else(|| can_probe(table, session.peer).then_some(session.peer));
        match other.filter(|_| attempts_left > 0) {
            Some(slot) => self.open_session(slot, Fingerprints::default(), false, CHAIN),
            None => {
                self.exchange = None;
                let (peer, outcome) = (Some(peer), ExchangeOutcome::Failed);
                self.emit(Event::ExchangeCompleted { peer, outcome });
                self.start_wanted_exchange();
            }
        }
    }

    /// The next exchange that the host wants, with the partner whose turn it is.
    pub(super) fn start_wanted_exchange(&mut self) {
        while self.exchange.is_none() && self.exchanges_wanted > 0 {
            self.exchanges_wanted -= 1;
            let Some(slot) = self.choose_partner() else {
                let outcome = ExchangeOutcome::Nobody;
                self.emit(Event::ExchangeCompleted { peer: None, outcome });
                continue;
            };
            self.session = None;
            self.exchange = Some(Exchange { attempts_left: ATTEMPTS });
            self.open_session(slot, Fingerprints::default(), false, CHAIN);
        }
    }

    fn choose_partner(&mut self) -> Option<Slot> {
        let table = &self.table;
        let members = table.len();
        let Some(places) = self.partners.next(members) else {
            return table.random(&mut self.rng, |slot| can_probe(table, slot));
        };
        let start = table.rank(self.me)? + places;
        (start..start + members)
            .filter_map(|rank| table.at_rank(rank))
            .find(|&slot| can_probe(table, slot))
    }
}
