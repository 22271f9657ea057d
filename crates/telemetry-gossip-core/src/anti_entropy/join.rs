//! Finding the cluster: asking seeds for all they know, page by page, or for a piece of it where
//! many join at once.
//!
//! ```text
//!   idle --- seeds ---> asking some seeds, again and again --- one answers ---> paging --- last page ---> idle
//!                            ^                                                    |
//!                            +-------------- it falls silent ---------------------+
//! ```

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::AntiEntropy;
use super::session::CHAIN;
use crate::address::Address;
use crate::cx::Cx;
use crate::error::CommandError;
use crate::event::Event;
use crate::id::{IdHash, RequestId};
use crate::membership::Fingerprints;
use crate::outbox::{Body, Intent};
use crate::time::Instant;
use crate::wire::Page;

/// The most members with which a newcomer compares its table.
const MAX_BOOTSTRAP_SYNCS: u8 = 10;

/// How many pages a seed gives a second to newcomers that want the whole table. Where more join at
/// once, each further one gets a piece from a random place, and compares tables with those it then
/// knows: the table comes from all of them.
const PAGES: u32 = 16;

/// The bytes of such a piece.
pub(crate) const PIECE: usize = 600;

/// What a seed has given of late.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Pages {
    since: Instant,
    given: u32,
}

impl Pages {
    /// Whether one more page is given.
    pub(crate) fn give(&mut self, now: Instant) -> bool {
        if now.since(self.since).as_secs() >= 1 {
            (self.since, self.given) = (now, 0);
        }
        self.given = self.given.saturating_add(1);
        self.given <= PAGES
    }
}

/// How many seeds are asked at once.
pub(crate) const FANOUT: usize = 3;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Joining<A> {
    seeds: Vec<A>,
    number: RequestId,
    /// The seed that answered, and where its next page begins.
    paging: Option<(A, IdHash)>,
    retry_at: Instant,
    fails_at: Instant,
}

/// What a page means to the join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step<A> {
    /// Ask this seed for the next page.
    Ask(A, RequestId, IdHash),
    /// That was the last.
    Complete(A),
    /// The page is not one that was asked for.
    Unrelated,
}

impl<A: Copy + PartialEq> Joining<A> {
    pub(crate) fn new(seeds: Vec<A>, number: RequestId, now: Instant, fails_at: Instant) -> Self {
        Self { seeds, number, paging: None, retry_at: now, fails_at }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.retry_at.min(self.fails_at)
    }

    /// Whether this is one of those that are asked.
    pub(crate) fn is_seed(&self, address: A) -> bool {
        self.seeds.contains(&address)
    }

    /// The seeds to choose from, if it is time to ask.
    pub(crate) fn due(&mut self, now: Instant, retry_at: Instant) -> Option<(&[A], RequestId)> {
        if self.retry_at > now {
            return None;
        }
        self.retry_at = retry_at;
        self.paging = None;
        Some((&self.seeds, self.number))
    }

    /// Whether the join has failed by now; it is then given until `fails_at`.
    pub(crate) fn failed(&mut self, now: Instant, fails_at: Instant) -> bool {
        let failed = self.fails_at <= now;
        if failed {
            self.fails_at = fails_at;
        }
        failed
    }

    pub(crate) fn page(
        &mut self,
        from: A,
        number: RequestId,
        next: Option<IdHash>,
        retry_at: Instant,
    ) -> Step<A> {
        if number != self.number || !self.is_seed(from) {
            return Step::Unrelated;
        }
        if let Some((seed, cursor)) = self.paging
            && (seed != from || next.is_some_and(|next| next <= cursor))
        {
            return Step::Unrelated;
        }
        match next {
            None => Step::Complete(from),
            Some(next) => {
                self.paging = Some((from, next));
                self.retry_at = retry_at;
                Step::Ask(from, number, next)
            }
        }
    }
}

/// A newcomer compares its table with others until it finds no difference: where many join at once,
/// each was told only of those that came before.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct BootstrapSync<A> {
    /// When the next comparison is due.
    pub(crate) at: Instant,
    left: u8,
    /// The seed that answered has enough to do.
    seed: A,
}

/// What a page changed for this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paged {
    /// Ask for the next page in the reply.
    Ask(Body),
    /// The join is complete.
    Complete,
    /// The page was not asked for.
    Unrelated,
}

impl<A: Address> AntiEntropy<A> {
    /// Begins to find the cluster through these seeds. A join under way is replaced.
    pub(crate) fn start_join(&mut self, seeds: &[A], cx: &mut Cx<A>) -> Result<(), CommandError> {
        let seeds: Vec<A> = seeds.iter().copied().filter(|&seed| seed != cx.this.address).collect();
        if seeds.is_empty() {
            return Err(CommandError::NoSeeds);
        }
        let number = cx.request_id();
        self.join = Some(Joining::new(seeds, number, cx.now, cx.now + cx.config.join_timeout));
        self.advance_join(cx);
        Ok(())
    }

    /// Whether a claim from `from` is a rumor to the other members. What a newcomer is told of, the
    /// others know already, or find out as it does.
    pub(crate) fn hears_rumors_from(&self, from: A) -> bool {
        self.bootstrap.is_none() && !self.join.as_ref().is_some_and(|join| join.is_seed(from))
    }

    pub(super) fn advance_join(&mut self, cx: &mut Cx<A>) {
        let Some(join) = &mut self.join else { return };
        if join.failed(cx.now, cx.now + cx.config.join_timeout) {
            cx.emit(Event::JoinFailed);
        }
        let retry_at = cx.now + cx.config.probe_timeout * 2;
        let Some((seeds, number)) = join.due(cx.now, retry_at) else { return };
        let start = cx.rng.below(seeds.len());
        let body = Body::PageRequest(number, IdHash(0));
        for seed in seeds.iter().cycle().skip(start).take(seeds.len().min(FANOUT)) {
            cx.ask(Intent::new(*seed, None, cx.mtu()).with_body(body));
        }
    }

    /// A page came.
    pub(crate) fn on_page(&mut self, from: A, page: Page, cx: &mut Cx<A>) -> Paged {
        let retry_at = cx.now + cx.config.probe_timeout * 2;
        let Some(join) = &mut self.join else { return Paged::Unrelated };
        match join.page(from, RequestId(page.number), page.next, retry_at) {
            Step::Ask(_, number, next) => Paged::Ask(Body::PageRequest(number, next)),
            Step::Complete(seed) => {
                self.join = None;
                let at = cx.now + cx.config.gossip_interval;
                self.bootstrap = Some(BootstrapSync { at, left: MAX_BOOTSTRAP_SYNCS, seed });
                cx.emit(Event::JoinCompleted { seed });
                Paged::Complete
            }
            Step::Unrelated => Paged::Unrelated,
        }
    }

    /// A newcomer's next comparison with another member.
    pub(super) fn continue_bootstrap(&mut self, cx: &mut Cx<A>) {
        let Some(due) = self.bootstrap.filter(|due| due.at <= cx.now && self.session.is_none())
        else {
            return;
        };
        let (table, rest) = (&cx.table, due.left.saturating_sub(1));
        let peer = table.random(&mut cx.rng, |slot| {
            table.can_probe(slot) && table.address(slot) != Some(due.seed)
        });
        let at = cx.now + cx.config.gossip_interval;
        self.bootstrap = (rest > 0).then_some(BootstrapSync { at, left: rest, ..due });
        if let Some(peer) = peer {
            self.open_session(peer, Fingerprints::default(), false, CHAIN, cx);
        }
    }
}
