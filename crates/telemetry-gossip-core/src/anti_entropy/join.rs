//! Joining: a newcomer asks seeds for their table, page by page; where many join at once, it gets
//! only a piece of it.
//!
//! ```text
//!   idle --- seeds ---> asking some seeds again and again <--- the seed falls silent ---+
//!    ^                        |                                                         |
//!    |                        +--- one of them answers ---> paging ---------------------+
//!    |                                                         |
//!    +----------------- the last page -------------------------+
//! ```
//!
//! Seeds come first. Once none has answered in time, former members are asked as well. A node
//! without seeds asks the members of its earlier run, if the host remembers any; once none has
//! answered in time, it goes on with the short questions of [`seeds`](super::seeds).
//!
//! After the last page, the newcomer compares its table with random members until it finds no
//! difference. The claims in the pages are applied by the node, as any others.

use alloc::vec::Vec;
use core::time::Duration;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use super::catch_up::BootstrapSync;
use super::{AntiEntropy, tables_of};
use crate::address::Address;
use crate::bounded::list;
use crate::cx::Cx;
use crate::error::CommandError;
use crate::event::Event;
use crate::id::RequestId;
use crate::input::{MAX_PEERS, MAX_SEEDS};
use crate::membership::rtt::RttBound;
use crate::membership::{Fingerprints, Place};
use crate::outbox::{Body, Intent};
use crate::time::{Instant, TimeRules};

/// The largest number of first pages that a seed gives out per second. Where more nodes join at
/// once, each further one gets only a piece from a random place of the table. It then compares its
/// table with the members that it knows, so the load is spread over all of them.
const MAX_PAGES_PER_SECOND: u32 = 16;

/// The size of a piece of the table, in bytes.
pub(crate) const PIECE_BYTES: usize = 600;

/// The pages that this node has given out as a seed in the current second.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Pages {
    /// When the current second began.
    since: Instant,
    given: u32,
}

impl Pages {
    /// Counts a newcomer's request; true if it gets the whole table, page by page.
    pub(crate) fn give(&mut self, now: Instant) -> bool {
        if now.since(self.since).as_secs() >= 1 {
            (self.since, self.given) = (now, 0);
        }
        self.given = self.given.saturating_add(1);
        self.given <= MAX_PAGES_PER_SECOND
    }

    /// Whether the restored second began in the past.
    pub(super) fn is_sound(&self, times: TimeRules) -> bool {
        let Self { since, given: _ } = self;
        times.is_past(*since)
    }
}

/// The largest number of seeds that are asked at once.
pub(crate) const MAX_SEEDS_ASKED: usize = 3;

/// The largest number of seeds whose answers are awaited: those of the last four times.
const MAX_SEEDS_AWAITED: usize = 4 * MAX_SEEDS_ASKED;

/// A join under way.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "A: Serialize", deserialize = "A: Deserialize<'de>"))]
pub(crate) struct Joining<A> {
    #[serde(deserialize_with = "list::<_, _, _, MAX_SEEDS>")]
    seeds: Vec<A>,
    /// The seeds asked last, each under a request id of its own, which says whose page it is: a
    /// seed may send from another address than the one at which it is reached.
    asked: ArrayVec<(A, RequestId), MAX_SEEDS_AWAITED>,
    /// The seed that answered, and where its next page begins.
    paging: Option<(A, Place)>,
    /// When seeds were asked last, or the next page.
    asked_at: Instant,
    /// How often that was asked in a row without an answer.
    tries: u8,
    /// When it is asked anew.
    retry_at: Instant,
    /// When the failure of the join is reported next, or when it ends if it was begun `again`.
    fails_at: Instant,
    /// Whether this node has joined before, and goes on without the seed if that is silent.
    pub(crate) again: bool,
}

/// How often a page is asked for before the join begins anew with other seeds.
const MAX_PAGE_TRIES: u8 = 3;

/// How often a page is asked for again without a longer pause: many datagrams may be lost.
const QUICK_TRIES: u8 = 4;

/// How many probe intervals pass until this node joins again through a seed, if neither table has
/// changed since. The pause doubles, up to half an hour where nodes probe every second.
const JOIN_AGAIN_INTERVALS: u32 = 30;

/// What a join asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask<'a, A> {
    /// The first page of one of these seeds.
    First(&'a [A]),
    /// The page of this seed that begins at this place.
    Next(A, Place),
}

/// The next step of a join after a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step<A> {
    /// Ask this seed for the page from this place on.
    Ask(A, RequestId, Place),
    /// The page was the last one of this seed.
    Complete(A),
    /// The page was not requested.
    Unrelated,
}

impl<A: Copy + PartialEq> Joining<A> {
    pub(crate) fn new(seeds: Vec<A>, now: Instant, fails_at: Instant) -> Self {
        Self {
            seeds,
            asked: ArrayVec::new(),
            paging: None,
            asked_at: now,
            tries: 0,
            retry_at: now,
            fails_at,
            again: false,
        }
    }

    /// Whether a restored join has seeds to ask, and asks them again.
    pub(super) fn is_sound(&self, times: TimeRules) -> bool {
        let Self { seeds, asked: _, paging: _, asked_at, tries: _, retry_at, fails_at, again: _ } =
            self;
        !seeds.is_empty()
            && times.is_past(*asked_at)
            && times.are_deadlines(&[Some(*retry_at), Some(*fails_at)])
    }

    /// When seeds are asked anew, or the join fails.
    pub(crate) fn deadline(&self) -> Instant {
        self.retry_at.min(self.fails_at)
    }

    /// Whether the join asks this address.
    pub(crate) fn is_seed(&self, address: A) -> bool {
        self.seeds.contains(&address)
    }

    /// Returns what to ask for, if it is time to ask. Without an answer, it is asked again after
    /// the time `first`, some times, and then after a time that doubles with each try up to
    /// `longest`.
    pub(crate) fn due(
        &mut self,
        now: Instant,
        first: Duration,
        longest: Duration,
    ) -> Option<Ask<'_, A>> {
        if self.retry_at > now {
            return None;
        }
        let doublings = self.tries.saturating_sub(QUICK_TRIES).min(8);
        self.retry_at = now + first.saturating_mul(1 << doublings).min(longest);
        self.asked_at = now;
        self.tries = self.tries.saturating_add(1);
        self.paging = self.paging.filter(|_| self.tries <= MAX_PAGE_TRIES);
        Some(match self.paging {
            Some((seed, from)) => Ask::Next(seed, from),
            None => Ask::First(&self.seeds),
        })
    }

    /// Returns how long the answer took that has just come; `None` if it was asked for twice.
    fn round_trip(&self, now: Instant) -> Option<Duration> {
        (self.tries <= 1).then(|| now.since(self.asked_at))
    }

    /// The request id under which to ask a seed: that of the last time, or `new`.
    pub(crate) fn ask(&mut self, seed: A, new: RequestId) -> RequestId {
        if let Some(&(_, request_id)) = self.asked.iter().find(|asked| asked.0 == seed) {
            return request_id;
        }
        if self.asked.is_full() {
            self.asked.remove(0);
        }
        self.asked.push((seed, new));
        new
    }

    /// The seed that was asked under this request id.
    pub(crate) fn seed_asked(&self, request_id: RequestId) -> Option<A> {
        self.asked.iter().find(|asked| asked.1 == request_id).map(|asked| asked.0)
    }

    /// Whether the join has failed by now. It then goes on, and fails again at `fails_at`. A page
    /// that was held back must not answer a join that goes on for hours.
    pub(crate) fn failed(&mut self, now: Instant, fails_at: Instant) -> bool {
        let failed = self.fails_at <= now;
        if failed {
            self.fails_at = fails_at;
            self.asked.clear();
        }
        failed
    }

    /// Asks these seeds as well.
    fn widen(&mut self, more: impl Iterator<Item = A>) {
        for seed in more {
            if self.seeds.len() < MAX_SEEDS && !self.seeds.contains(&seed) {
                self.seeds.push(seed);
            }
        }
    }

    /// Takes a page that claims to be followed by another from `next` on, which is asked for again
    /// at `retry_at`.
    ///
    /// Each page must begin above the one before, so that a seed cannot keep a join going for ever.
    pub(crate) fn page(
        &mut self,
        request_id: RequestId,
        next: Option<Place>,
        now: Instant,
        retry_at: Instant,
    ) -> Step<A> {
        let Some(from) = self.seed_asked(request_id) else { return Step::Unrelated };
        if let Some((seed, cursor)) = self.paging
            && (seed != from || next.is_some_and(|next| next <= cursor))
        {
            return Step::Unrelated;
        }
        match next {
            None => Step::Complete(from),
            Some(next) => {
                self.paging = Some((from, next));
                (self.asked_at, self.tries, self.retry_at) = (now, 1, retry_at);
                Step::Ask(from, request_id, next)
            }
        }
    }
}

/// The effect of a page on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paged {
    /// The reply is to ask for the next page.
    Ask(Body),
    /// The join is complete.
    Complete,
    /// The page was not requested.
    Unrelated,
}

impl<A: Address> AntiEntropy<A> {
    /// Begins a join through these seeds, in place of a join under way.
    pub(crate) fn start_join(&mut self, seeds: &[A], cx: &mut Cx<A>) -> Result<(), CommandError> {
        let seeds = others(seeds, cx);
        if seeds.is_empty() {
            return Err(CommandError::NoSeeds);
        }
        // The host may join anew after each failure, by what the names lead to then.
        let wide = self.join.as_ref().is_some_and(|join| self.is_wide(join));
        self.seeds.set(seeds.clone(), cx);
        self.begin_join(seeds, false, wide, cx);
        Ok(())
    }

    fn begin_join(&mut self, seeds: Vec<A>, again: bool, wide: bool, cx: &mut Cx<A>) {
        let mut join = Joining::new(seeds, cx.now, cx.now + cx.config.join_timeout);
        join.again = again;
        if wide {
            join.widen(self.seeds.all());
        }
        self.join = Some(join);
        self.advance_join(cx);
    }

    /// Whether a join through seeds asks former members, too.
    fn is_wide(&self, join: &Joining<A>) -> bool {
        self.seeds.are_given() && join.seeds.iter().any(|seed| self.seeds.is_former(seed))
    }

    /// Takes the addresses of members of an earlier run, and joins through them if this node knows
    /// no member and no seed. True if a join begins.
    pub(crate) fn remember_peers(&mut self, peers: &[A], cx: &mut Cx<A>) -> bool {
        let mut peers = others(peers, cx);
        peers.retain(|peer| cx.believes(peer));
        peers.truncate(MAX_PEERS);
        self.seeds.keep_peers(&peers, cx);
        let begins = !peers.is_empty() && self.join.is_none() && !self.joined && !cx.has_others();
        if begins {
            self.begin_join(peers, false, false, cx);
        }
        begins
    }

    /// Sets the seeds, without a join.
    pub(crate) fn set_seeds(&mut self, seeds: &[A], cx: &mut Cx<A>) {
        self.seeds.set(others(seeds, cx), cx);
    }

    /// Takes the answer of a seed that was asked whether its table is like this one. If it is not,
    /// this node joins through it once more. False if it is no such answer.
    pub(crate) fn on_seed_answer(
        &mut self,
        request_id: RequestId,
        theirs: Fingerprints,
        cx: &mut Cx<A>,
    ) -> bool {
        let Some(seed) = self.seeds.answered(request_id) else { return false };
        let tables = tables_of(theirs, cx.table.fingerprints());
        if self.join.is_none()
            && tables.theirs != tables.ours
            && !self.fruitless_joins.holds_back(tables, cx.now)
        {
            let again = self.joined || cx.has_others();
            if again {
                // Should it change neither table, the next join would not do so, either.
                let first = cx.config.probe_interval * JOIN_AGAIN_INTERVALS;
                self.fruitless_joins.record(tables, first, cx.now);
            }
            self.begin_join(alloc::vec![seed], again, false, cx);
        }
        true
    }

    /// Whether a claim from `from` is a rumor to the other members. The claims that a newcomer
    /// gets while it joins are known to the others, or reach them the same way.
    pub(crate) fn hears_rumors_from(&self, from: A) -> bool {
        let joins = self.join.as_ref().is_some_and(|join| !join.again && join.is_seed(from));
        self.bootstrap.is_none_or(|bootstrap| bootstrap.brings_news) && !joins
    }

    /// Whether this node joins through the seed at `from`.
    pub(crate) fn joins_through(&self, from: A) -> bool {
        self.join.as_ref().is_some_and(|join| join.is_seed(from))
    }

    /// The seed that this node's own join has asked under this request id.
    pub(crate) fn seed_asked(&self, request_id: RequestId) -> Option<A> {
        self.join.as_ref()?.seed_asked(request_id)
    }

    /// Asks a few seeds if that is due, and reports a join that takes too long.
    pub(super) fn advance_join(&mut self, cx: &mut Cx<A>) {
        let Some(join) = &mut self.join else { return };
        if join.failed(cx.now, cx.now + cx.config.join_timeout) {
            if join.again {
                self.join = None;
                return;
            }
            cx.emit(Event::JoinFailed);
            if !self.seeds.are_given() {
                self.join = None;
                return;
            }
            join.widen(self.seeds.all());
        }
        let (first, longest) = (join_timeout(self.round_trip, cx), cx.config.probe_timeout * 2);
        let mut chosen = ArrayVec::<(A, Place), MAX_SEEDS_ASKED>::new();
        match join.due(cx.now, first, longest) {
            None => {}
            Some(Ask::First(seeds)) => {
                let start = cx.rng.below(seeds.len());
                let some = seeds.iter().cycle().skip(start).take(seeds.len().min(MAX_SEEDS_ASKED));
                chosen.extend(some.map(|&seed| (seed, Place::default())));
            }
            Some(Ask::Next(seed, from)) => chosen.push((seed, from)),
        }
        for (seed, from) in chosen {
            let body = Body::PageRequest(join.ask(seed, cx.request_id()), from);
            cx.ask(Intent::new(seed, None, cx.mtu()).with_body(body));
        }
    }

    /// Handles a page.
    pub(crate) fn on_page(
        &mut self,
        request_id: RequestId,
        next: Option<Place>,
        cx: &mut Cx<A>,
    ) -> Paged {
        let Some(join) = &mut self.join else { return Paged::Unrelated };
        let took = join.round_trip(cx.now);
        let mut round_trip = self.round_trip;
        if let Some(took) = took {
            round_trip.add_sample(took);
        }
        let retry_at = cx.now + join_timeout(round_trip, cx);
        let step = join.page(request_id, next, cx.now, retry_at);
        if step != Step::Unrelated {
            self.round_trip = round_trip;
        }
        match step {
            Step::Ask(_, request_id, next) => Paged::Ask(Body::PageRequest(request_id, next)),
            Step::Complete(seed) => {
                let start = cx.rng.below(join.seeds.len());
                let others = join.seeds.iter().cycle().skip(start).take(join.seeds.len());
                let other_seed = others.copied().find(|&other| other != seed);
                let again = join.again;
                (self.join, self.joined) = (None, true);
                self.bootstrap = Some(BootstrapSync::new(seed, other_seed, again, cx));
                cx.emit(Event::JoinCompleted { seed });
                Paged::Complete
            }
            Step::Unrelated => Paged::Unrelated,
        }
    }
}

/// How long a join waits for a page: some of the longest recent round trips, and before the first
/// one a third of the probe timeout.
fn join_timeout<A: Address>(round_trip: RttBound, cx: &Cx<A>) -> Duration {
    let timeout = cx.config.probe_timeout;
    round_trip.longest().map_or(timeout / 3, |_| round_trip.timeout(timeout))
}

/// The addresses of these seeds, except this node's own.
fn others<A: Address>(seeds: &[A], cx: &Cx<A>) -> Vec<A> {
    seeds.iter().copied().filter(|&seed| seed != cx.this.address).take(MAX_SEEDS).collect()
}
