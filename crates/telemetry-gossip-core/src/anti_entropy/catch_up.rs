//! Catching up: comparing this node's table with those of others until several in a row are alike,
//! after a join, and after an isolation.
//!
//! Where many nodes join at once, each has learned only of those that came before. The claims that
//! the sessions bring are applied by the node, as any others.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::AntiEntropy;
use crate::address::Address;
use crate::cx::Cx;
use crate::membership::{Fingerprints, Slot};
use crate::time::{Instant, TimeRules};

/// The largest number of members with which a newcomer compares its table. Where hundreds of nodes
/// join at once, the first ones that it asks know few others themselves.
const MAX_BOOTSTRAP_SYNCS: u8 = 25;

/// The largest number of sessions that follow one of a newcomer at once. Where many nodes join at
/// once, all know the same few members, which must not have to tell each of them everything.
const MAX_FRESH_CHAIN: u16 = 3;

/// How many comparisons in a row must find no difference until a newcomer has caught up.
const EQUAL_SYNCS: u8 = 3;

/// For how many probe intervals after its join the fingerprints of any datagram may begin a
/// comparison. Datagrams may be forged, so the time is short.
const FRESH_INTERVALS: u32 = 5;

/// The comparisons of a newcomer's table with those of other members, until [`EQUAL_SYNCS`] in a
/// row find no difference. Where many nodes join at once, each has learned only of those that came
/// before, and two that know few may well know the same few.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct BootstrapSync<A> {
    /// When the next comparison is due.
    pub(crate) at: Instant,
    /// How many comparisons are left.
    left: u8,
    /// How many comparisons in a row found no difference.
    equal: u8,
    /// How many partners in a row were silent.
    silent: u8,
    /// The earliest time of a comparison because of a datagram's fingerprints.
    next_heard: Instant,
    /// Until when the fingerprints of any datagram may begin one.
    fresh_until: Instant,
    /// The seed that answered. It is not asked again, since it has enough to do.
    seed: A,
    /// Another seed, with which the first comparison is made: one seed that lies must not be able
    /// to keep a newcomer from the cluster.
    other_seed: Option<A>,
    /// Whether what it brings is news to the others. What a newcomer learns is not.
    pub(super) brings_news: bool,
}

impl<A: Address> BootstrapSync<A> {
    pub(super) fn new(seed: A, other_seed: Option<A>, brings_news: bool, cx: &Cx<A>) -> Self {
        Self {
            at: cx.now + cx.config.gossip_interval,
            left: MAX_BOOTSTRAP_SYNCS,
            equal: 0,
            silent: 0,
            next_heard: cx.now,
            fresh_until: cx.now + cx.config.probe_interval * FRESH_INTERVALS,
            seed,
            other_seed,
            brings_news,
        }
    }
}

impl<A> BootstrapSync<A> {
    /// Whether the restored comparisons come to an end.
    pub(super) fn is_sound(&self, times: TimeRules) -> bool {
        let Self {
            at,
            left,
            equal,
            silent: _,
            next_heard,
            fresh_until,
            seed: _,
            other_seed: _,
            brings_news: _,
        } = self;
        (1..=MAX_BOOTSTRAP_SYNCS).contains(left)
            && *equal < EQUAL_SYNCS
            && times.are_deadlines(&[Some(*at), Some(*next_heard), Some(*fresh_until)])
    }
}

impl<A: Address> AntiEntropy<A> {
    /// Begins to compare this node's table with those of others until it finds no difference, since
    /// it was cut off. It knows the members, but probes them seldom after so much silence.
    pub(crate) fn catch_up(&mut self, cx: &Cx<A>) {
        if self.bootstrap.is_none() && cx.asks_for_proof() {
            self.bootstrap = Some(BootstrapSync::new(cx.this.address, None, true, cx));
        }
    }

    /// Whether this node has joined lately, and compares its table with those of others.
    pub(crate) fn is_catching_up(&self) -> bool {
        self.bootstrap.is_some()
    }
    /// Begins a newcomer's next comparison with a random member, if it is due.
    pub(super) fn continue_bootstrap(&mut self, cx: &mut Cx<A>) {
        let Some(due) = self.bootstrap.filter(|due| due.at <= cx.now && self.session.is_none())
        else {
            return;
        };
        let (table, rest) = (&cx.table, due.left.saturating_sub(1));
        let all = !cx.asks_for_proof();
        let may_ask = |slot| table.can_probe(slot) && (all || table.is_verified(slot));
        // The last comparison is with the seed, so that it learns of this node if all that passed
        // between the two at the join was lost.
        let last = Some(due.seed).filter(|_| due.equal + 1 == EQUAL_SYNCS);
        let other = due.other_seed.or(last).and_then(|seed| {
            table.slots().find(|&slot| may_ask(slot) && table.row(slot).is_at(&seed))
        });
        let peer = other.or_else(|| {
            table.random(&mut cx.rng, |slot| may_ask(slot) && !table.row(slot).is_at(&due.seed))
        });
        let at = cx.now + pause_of(cx);
        // Members that have not answered yet will soon do so, or be removed.
        let waits = peer.is_none() && cx.others() > 1;
        let left = if waits { due.left } else { rest };
        self.bootstrap = (left > 0).then_some(BootstrapSync { at, left, other_seed: None, ..due });
        if let Some(peer) = peer {
            self.open_session(peer, Fingerprints::default(), false, MAX_FRESH_CHAIN, cx);
        }
    }

    /// Compares a newcomer's table with that of a member whose datagram has just come with the
    /// fingerprints `theirs`, if they differ. Not with the seed, which has enough to do.
    ///
    /// Any datagram may be forged, so this happens at most once per half a gossip interval, and
    /// only in the first seconds after a join.
    pub(crate) fn compare_while_fresh(&mut self, peer: Slot, theirs: Fingerprints, cx: &mut Cx<A>) {
        let Some(fresh) = &mut self.bootstrap else { return };
        let ours = cx.table.fingerprints();
        if self.session.is_some()
            || cx.now < fresh.next_heard
            || cx.now >= fresh.fresh_until
            || theirs.claims == ours.claims
            || cx.table.row(peer).is_at(&fresh.seed)
            || !cx.table.can_probe(peer)
            || !cx.may_tell(peer)
        {
            return;
        }
        fresh.next_heard = cx.now + pause_of(cx) / 2;
        self.open_session(peer, theirs, true, MAX_FRESH_CHAIN, cx);
    }

    /// Records that the partner of a newcomer is not silent.
    pub(super) fn bootstrap_answered(&mut self) {
        if let Some(bootstrap) = &mut self.bootstrap {
            bootstrap.silent = 0;
        }
    }

    /// Records how a comparison of a newcomer's table went.
    pub(super) fn bootstrap_compared(&mut self, differed: bool) {
        if let Some(bootstrap) = &mut self.bootstrap {
            bootstrap.equal = if differed { 0 } else { bootstrap.equal + 1 };
        }
        self.bootstrap = self.bootstrap.filter(|bootstrap| bootstrap.equal < EQUAL_SYNCS);
    }

    /// Records that a newcomer's partner was silent: the next one is asked at once.
    pub(super) fn bootstrap_failed(&mut self, now: Instant) {
        if let Some(bootstrap) = &mut self.bootstrap {
            bootstrap.silent = bootstrap.silent.saturating_add(1);
            bootstrap.at = bootstrap.at.min(now);
            // It counts for nothing, as long as the node is fresh.
            let refund = u8::from(now < bootstrap.fresh_until);
            bootstrap.left = (bootstrap.left + refund).min(MAX_BOOTSTRAP_SYNCS);
        }
    }

    /// How long to wait for a reply of `peer` in a session. A newcomer, which has much to learn,
    /// waits for some of the longest recent round trips, and longer with each partner that is
    /// silent.
    pub(crate) fn reply_timeout(&self, peer: Slot, cx: &Cx<A>) -> Duration {
        let timeout = cx.config.probe_timeout;
        let longest = cx.table.row(peer).round_trip.longest_wait(timeout);
        if longest > timeout {
            return longest;
        }
        self.bootstrap.map_or(timeout, |bootstrap| {
            let first = self.round_trip.timeout(timeout);
            first.saturating_mul(1 << bootstrap.silent.min(8)).min(timeout)
        })
    }
}

/// The pause between two comparisons of a newcomer. A comparison of a large table costs more, and
/// members that the newcomer asks tell it of themselves meanwhile.
fn pause_of<A: Address>(cx: &Cx<A>) -> Duration {
    const MEMBERS_PER_INTERVAL: u32 = 256;
    let members = u32::try_from(cx.table.len()).unwrap_or(u32::MAX);
    let interval = cx.config.gossip_interval;
    interval.max(interval.saturating_mul(members.min(4_096)) / MEMBERS_PER_INTERVAL)
}
