//! How differences between tables are repaired: joins, sync sessions, and the exchanges that the
//! host asks for.
//!
//! | file | decides |
//! |---|---|
//! | `trigger` | when a difference is worth a session |
//! | `session` | the course of the session that this node opened |
//! | `diff` | how two tables differ, and which rows to send and to request |
//! | `fruitless` | how long two tables that a session left different are not compared again |
//! | `gone` | how a difference in records of members that are gone is found |
//! | `narrow` | how a difference is found in a range that is too long to be listed |
//! | `partners` | which member is the partner of an exchange that the host asks for |
//! | `join` | how to find the cluster through seeds |
//! | `catch_up` | when a newcomer, or a node that was cut off, compares its table |
//! | `seeds` | when seeds are asked again |
//!
//! A session that a partner opened needs no state here: each of its datagrams is answered by
//! itself. The claims and telemetry that arrive in sessions are applied by the node, as any others.

mod catch_up;
pub(crate) mod diff;
mod fruitless;
mod gone;
pub(crate) mod join;
pub(crate) mod narrow;
mod partners;
pub(crate) mod seeds;
pub(crate) mod session;
mod trigger;

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::config::Mode;
use crate::cx::{Activity, Cx, Part, sooner};
use crate::error::CommandError;
use crate::event::{Event, ExchangeOutcome};
use crate::id::NodeId;
use crate::membership::rtt::RttBound;
use crate::membership::{Fingerprints, Slot};
use crate::time::Instant;
use crate::violation::{Unsound, Violation, check_rules};
use catch_up::BootstrapSync;
use fruitless::{Fruitless, Tables};
use gone::Gone;
use join::{Joining, Pages};
pub(crate) use partners::Partners;
use seeds::Seeds;
use session::{Exchange, Session};
pub(crate) use trigger::{SyncTrigger, TelemetrySyncTrigger};

/// The version of the serialised shape of [`AntiEntropy`]; increase it with each change of the
/// shape.
pub(crate) const SHAPE: u32 = 5;

/// The largest number of exchanges that the host has asked for and that wait for their turn.
const MAX_EXCHANGES_WANTED: usize = 1_024;

/// The shortest time between two sessions that ask a member about a claim of others.
const ASK_PAUSE: Duration = Duration::from_millis(500);

/// The state of anti-entropy.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AntiEntropy<A> {
    /// The join under way.
    pub(crate) join: Option<Joining<A>>,
    /// Whether a join has completed.
    pub(crate) joined: bool,
    pub(crate) seeds: Seeds<A>,
    pub(crate) pages: Pages,
    /// The session that this node opened.
    pub(crate) session: Option<Session<A>>,
    /// The next comparison of a newcomer.
    pub(crate) bootstrap: Option<BootstrapSync<A>>,
    /// The exchange under way, of which `session` is an attempt.
    pub(crate) exchange: Option<Exchange>,
    /// The number of exchanges that the host has asked for and that have not begun.
    pub(crate) exchanges_wanted: usize,
    pub(crate) trigger: SyncTrigger,
    pub(crate) telemetry_trigger: TelemetrySyncTrigger,
    pub(crate) partners: Partners,
    pub(crate) gone: Gone,
    pub(crate) fruitless: Fruitless,
    /// The tables of seeds for which this node has joined again.
    pub(crate) fruitless_joins: Fruitless,
    /// When a member was asked last because others claim too much about it.
    pub(crate) asked_member_at: Option<Instant>,
    /// The longest recent round trip of a page or of a step of a session.
    pub(crate) round_trip: RttBound,
}

/// Two tables by what they hold of the live members, telemetry aside: that changes all the time.
const fn tables_of(theirs: Fingerprints, ours: Fingerprints) -> Tables {
    Tables { theirs: theirs.claims, ours: ours.claims }
}

impl<A: Address> AntiEntropy<A> {
    pub(crate) fn new() -> Self {
        Self {
            join: None,
            joined: false,
            seeds: Seeds::new(),
            pages: Pages::default(),
            session: None,
            bootstrap: None,
            exchange: None,
            exchanges_wanted: 0,
            trigger: SyncTrigger::default(),
            telemetry_trigger: TelemetrySyncTrigger::default(),
            partners: Partners::default(),
            gone: Gone::default(),
            fruitless: Fruitless::default(),
            fruitless_joins: Fruitless::default(),
            asked_member_at: None,
            round_trip: RttBound::default(),
        }
    }

    /// Compares the fingerprints of a member that answered a ping with ours, and opens a session if
    /// the difference is worth one.
    pub(crate) fn compare_fingerprints(
        &mut self,
        peer: Slot,
        theirs: Fingerprints,
        cx: &mut Cx<A>,
    ) {
        if cx.config.mode != Mode::Autonomous || self.session.is_some() || !cx.table.is_live(peer) {
            return;
        }
        let (ours, spread) = (cx.table.fingerprints(), cx.spread_time());
        let (claims, telemetry) =
            (ours.claims == theirs.claims, ours.telemetry == theirs.telemetry);
        if claims {
            self.fruitless.is_fruitful();
        } else if self.fruitless.holds_back(tables_of(theirs, ours), cx.now) {
            return;
        }
        let differs = self.trigger.should_sync(cx.now, claims, cx.table.changed_at(), spread);
        let changed_at = cx.table.telemetry_changed_at();
        if self.telemetry_trigger.should_sync(cx.now, telemetry, changed_at, spread) || differs {
            self.open_session(peer, theirs, true, session::MAX_CHAINED_SESSIONS, cx);
        }
    }

    /// Opens a session with a member about which others claim a generation that only the member
    /// itself can confirm. At most one per [`ASK_PAUSE`], so that lies cost little.
    pub(crate) fn ask_member(&mut self, slot: Slot, cx: &mut Cx<A>) {
        let lately = self.asked_member_at.is_some_and(|at| cx.now < at + ASK_PAUSE);
        if self.session.is_none() && !lately && cx.is_proved(slot) {
            self.asked_member_at = Some(cx.now);
            self.open_session(slot, Fingerprints::default(), true, 0, cx);
        }
    }

    /// When a seed is asked again; `None` if there is no seed, or this node is joining anyway.
    pub(crate) fn seeds_due_at(&self, cx: &Cx<A>) -> Option<Instant> {
        let asks = self.join.is_none() && cx.asks_for_proof() && cx.activity == Activity::Active;
        self.seeds.due_at().filter(|_| asks)
    }

    /// Queues an exchange for the host, and begins it if no other is under way.
    pub(crate) fn want_exchange(&mut self, cx: &mut Cx<A>) -> Result<(), CommandError> {
        if self.exchanges_wanted >= MAX_EXCHANGES_WANTED {
            return Err(CommandError::TooMany { max: MAX_EXCHANGES_WANTED });
        }
        self.exchanges_wanted += 1;
        self.start_wanted_exchange(cx);
        Ok(())
    }

    /// Reports every exchange that the host awaits as failed: the node leaves.
    pub(crate) fn abandon(&mut self, cx: &mut Cx<A>) {
        let waiting = core::mem::take(&mut self.exchanges_wanted)
            + usize::from(self.exchange.take().is_some());
        for _ in 0..waiting {
            cx.emit(Event::ExchangeCompleted { peer: None, outcome: ExchangeOutcome::Failed });
        }
        self.session = None;
    }

    /// Ends the session with a member whose row was removed, and whose id was `id`.
    pub(crate) fn forget_partner(&mut self, slot: Slot, id: NodeId, cx: &mut Cx<A>) {
        if let Some(session) = self.session.take_if(|session| session.peer == slot) {
            self.fail_session(session, id, cx);
        }
    }
}

impl<A: Address> Part<A> for AntiEntropy<A> {
    fn deadline(&self, cx: &Cx<A>) -> Option<Instant> {
        let join = self.join.as_ref().map(Joining::deadline);
        let session = self.session.as_ref().map(|session| session.deadline);
        let bootstrap = self.bootstrap.as_ref().filter(|_| self.session.is_none());
        // A node that knows others ticks for its probes, and looks at its seeds then.
        let seeds = self.seeds_due_at(cx).filter(|_| !cx.has_others());
        let wanted = (self.exchange.is_none() && self.exchanges_wanted > 0).then_some(cx.now);
        let bootstrap = bootstrap.map(|bootstrap| bootstrap.at);
        sooner(sooner(wanted, sooner(join, seeds)), sooner(session, bootstrap))
    }

    fn is_idle(&self) -> bool {
        self.session.is_none()
            && self.join.is_none()
            && self.bootstrap.is_none()
            && self.exchanges_wanted == 0
    }

    fn on_timeout(&mut self, cx: &mut Cx<A>) {
        self.advance_join(cx);
        self.go_on(cx);
        self.expire_session(cx);
        self.start_wanted_exchange(cx);
        self.continue_bootstrap(cx);
    }

    /// Does nothing: a session with the member fails once its row is removed, see
    /// [`forget_partner`](AntiEntropy::forget_partner).
    fn forget(&mut self, _: Slot, _: &mut Cx<A>) {}

    fn heap_bytes(&self) -> usize {
        self.seeds.heap_bytes()
    }

    fn check(&self, _: &Cx<A>) -> Result<(), Violation> {
        Ok(())
    }

    fn check_restored(&self, cx: &Cx<A>) -> Result<(), Unsound> {
        let Self {
            join,
            joined: _,
            seeds,
            pages,
            session,
            bootstrap,
            exchange,
            exchanges_wanted,
            trigger,
            telemetry_trigger,
            partners: _,
            gone,
            fruitless,
            fruitless_joins,
            asked_member_at,
            round_trip: _,
        } = self;
        let times = cx.time_rules();
        let exchange_is_sound = exchange.is_none_or(|exchange| {
            (1..=session::MAX_ATTEMPTS).contains(&exchange.attempts_left) && session.is_some()
        });
        check_rules(
            "anti-entropy",
            &[
                (
                    join.as_ref().is_none_or(|join| join.is_sound(times)),
                    "a join has seeds, and asks them again",
                ),
                (seeds.is_sound(times), "seeds are asked again before long"),
                (pages.is_sound(times), "the pages of a second were given out in the past"),
                (
                    session.is_none_or(|session| session.is_sound(cx.this.slot, times)),
                    "a session is with another member, and ends",
                ),
                (
                    bootstrap.is_none_or(|bootstrap| bootstrap.is_sound(times)),
                    "a newcomer compares its table a few times",
                ),
                (exchange_is_sound, "an exchange has a session and attempts left"),
                (*exchanges_wanted <= MAX_EXCHANGES_WANTED, "no more exchanges wait than may wait"),
                (times.are_past(&[*asked_member_at]), "a member was asked in the past"),
                (gone.is_sound(times), "members that are gone are looked at before long"),
                (
                    fruitless.is_sound(times) && fruitless_joins.is_sound(times),
                    "the pause after a fruitless session is bounded",
                ),
                (
                    trigger.is_sound(times) && telemetry_trigger.is_sound(times),
                    "a difference was found in the past, and the pause between sessions is bounded",
                ),
            ],
        )
    }
}
